import asyncio
from types import SimpleNamespace

from u2pl_ray.search.mailbox import END, Mailbox


def test_boxes_are_queues_that_wait() -> None:
    async def story() -> list[object]:
        mailbox = Mailbox()
        await mailbox.put("a", 1)
        await mailbox.put("b", 10)
        await mailbox.put("a", 2)
        waiting = asyncio.create_task(mailbox.take("c"))
        taken = [await mailbox.take(box) for box in ("a", "a", "b")]
        assert not waiting.done()
        await mailbox.put("c", 3)
        await mailbox.put("a", END)
        taken += [await waiting, await mailbox.take("a")]
        assert "a" not in mailbox._boxes
        return taken

    assert asyncio.run(story()) == [1, 2, 10, 3, END]


def test_claims_are_handed_out_once() -> None:
    async def story() -> None:
        mailbox = Mailbox()
        await mailbox.claim("0001", "group", "x")
        await mailbox.claim("0002", "group", "z")
        await mailbox.claim("0001", "controller", "y")
        assert await mailbox.claims("0001") == [("group", "x"), ("controller", "y")]
        assert await mailbox.claims("0001") == []
        assert await mailbox.claims("0002") == [("group", "z")]

    asyncio.run(story())


def test_a_checkpoints_path_is_kept_below_its_trial(monkeypatch: object) -> None:
    from u2pl_ray.search import mailbox as module

    sent: list[tuple[str, dict[str, object]]] = []

    class Remote:
        put = SimpleNamespace(remote=lambda box, report: sent.append((box, report)))

    monkeypatch.setattr(module.ray, "get", lambda result: result)  # type: ignore[attr-defined]
    callback = module.ReportCallback(Remote(), "box", "/0003")
    checkpoint = SimpleNamespace(path="/storage/0003/trials/0003/train/epoch_00002")
    callback.after_report(None, [{"a": 1}, {"a": 2}], checkpoint)
    callback.after_report(None, [{"a": 3}], None)
    assert sent == [("box", {"a": 1, "checkpoint": "train/epoch_00002"}), ("box", {"a": 3})]
