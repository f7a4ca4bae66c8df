"""Check an installed wheel: `make dist` runs this where the wheel, and not the source tree, is imported."""

import subprocess
import sys
from pathlib import Path

import u2pl_ray
from u2pl_ray.config import overrides

SPACE = "parameters: {method.contrastive.temperature: {min: 0.05, max: 2.0, distribution: log_uniform_values}}"


def main() -> None:
    installed = Path(u2pl_ray.__file__).parent
    assert installed.is_relative_to(sys.prefix), f"{installed} is not the wheel's"
    for name in overrides.presets():
        assert "method:" in overrides.dump(overrides.load(name))
    assert list((installed / "analysis" / "templates").iterdir())

    space = Path("space.yaml")
    space.write_text(f"metric: {{name: val/miou, goal: maximize}}\n{SPACE}\n")
    command: list[str | Path] = [
        Path(sys.prefix) / "bin" / "u2pl-ray",
        "search",
        "quickstart",
        "--space",
        space,
        "--trials",
        "0",
    ]
    refused = subprocess.run(command, capture_output=True, text=True)
    assert refused.returncode == 2, refused.stderr
    print(f"the wheel works: {len(overrides.presets())} presets, command line, templates")


if __name__ == "__main__":
    main()
