"""The names of all files of an experiment, and which of them decide what a search does next.

<storage_path>/<name>/
    experiment.json     options, versions
    config.yaml         the configuration the trials start from
    space.yaml          the search space, as it was written; space-<n>.yaml: before its n-th extension
    start/              pristine copies of these three, see `experiment.snapshot`
    warm_start.json     finished trials of earlier experiments, for the sampler
    earlier.json        their trainings that are like this search's in all but the seed, for its answer
    study.journal       the study (Optuna), unless it is in a database
    trials/<id>/        one trial
        config.yaml     its whole configuration
        trial.json      its settings and state, used when the study is lost
        epochs.jsonl    the metrics of each epoch
        images/         pictures of some epochs
        train/          Ray Train's run: checkpoints
        kept/, start/   checkpoints for forks (population-based training), and of what a trial goes on from
    warmups/<key>/      checkpoint and epochs of a warm-up that several trials share
    driver.lease        held by the driver that runs the experiment
    waits.json          what the running driver waits for; waits-<driver>.json where there are several
    best.yaml           the best configuration so far, which `train` accepts
    report.html, confirmation.json, worth.json, results.json, wandb/    results for people; resume does not need them
    tune/               Ray Tune's working files; deleted after every run
<storage_path>/.<name>.starting
                        held by the driver that is about to write the experiment
"""

EXPERIMENT, CONFIG, SPACE = "experiment.json", "config.yaml", "space.yaml"
START = "start"
WARM_START, EARLIER_TRAININGS = "warm_start.json", "earlier.json"
STUDY = "study.journal"
TRIALS = "trials"
WARMUPS = "warmups"
TRIAL, EPOCHS, IMAGES, RUN, KEPT = "trial.json", "epochs.jsonl", "images", "train", "kept"
LEASE, STARTING, WAITS = "driver.lease", ".starting", "waits*.json"
BEST = "best.yaml"
REPORT, CONFIRMATION, WORTH, RESULTS = "report.html", "confirmation.json", "worth.json", "results.json"
TUNE = "tune"

DECIDING = (
    *(CONFIG, SPACE, "space-*.yaml", WARM_START, EARLIER_TRAININGS, BEST, f"{START}/*"),
    *(f"{TRIALS}/*/{CONFIG}", f"{TRIALS}/*/{EPOCHS}"),
    STUDY,  # after what it can be brought up to date from
    f"{TRIALS}/*/{TRIAL}",
    EXPERIMENT,  # last: with it there is an experiment
)
"""Patterns of the files that `resume` needs, in the order in which they are stored: each after those it refers to."""

FOR_PEOPLE = ("wandb/*", f"{TRIALS}/*/{IMAGES}/*")
"""Patterns of files, large ones among them, that only a driver, `report` and `wandb` need."""

NOT_UPLOADED = (f"{TRIALS}/*/{RUN}/*", f"{WARMUPS}/*", f"{TUNE}/*", LEASE, "*.partial", "*.partial/*", "*.lock")
"""Patterns of files that the search does not upload: checkpoints (Ray Train does), locks, unfinished files."""
