"""A run and a split → top-1, top-5, a table of classes, a confusion matrix, all mistakes, and what is behind a 90 %."""

from __future__ import annotations

from pathlib import Path

from fastsketch.evaluation.metrics import class_scores
from fastsketch.evaluation.mistakes import find_mistakes
from fastsketch.evaluation.report import draw_pictures, write_tables
from fastsketch.evaluation.result import Evaluation
from fastsketch.evaluation.subject import Subject
from fastsketch.training.run.directory import Run
from fastsketch.training.run.model_files import save_temperature


def evaluate_run(
    run: Run | str | Path,
    split: str = "val",
    *,
    checkpoint: str = "best",
    data: str | Path | None = None,
    device: str = "auto",
    flip: bool | None = None,
    tokens: int | str | None = None,
    verify: bool | None = None,
) -> Evaluation:
    """Evaluate a run's saved model; on the machine that trained it the numbers are those that training printed.

    On the run's own `val`, as the recipe would have it, the temperature that calibrates the model is found and saved
    with it; else the one that is saved is used.

    Args:
        run: An existing run, or its folder.
        split: Name of the split.
        checkpoint: `best` or `last`.
        data: The data set, if it is not where it was in training, or another with the same classes: what is written
            has the name of that one then, and takes the place of nothing that the run's own data set led to.
        device: Where to compute.
        flip: Average the class probabilities of each image and its mirror image; None is what the recipe says.
        tokens: Patches of each image that a vision transformer sees, a number or `all`; None is what the recipe says.
        verify: Compare every byte of the split with its checksum; None is what the recipe says.

    Raises:
        ConfigError: There is no such run, model, data set or split, the data set's classes or size are not the run's,
            or the model has no such number of patches. All but the last shows before torch is imported.
        DataError: The model or the data set is damaged.
    """
    run = Run.of(run)
    subject = Subject.of(run, split, checkpoint, None if data is None else Path(data), flip, tokens)

    from fastsketch.evaluation.calibration import Calibration  # here torch begins
    from fastsketch.evaluation.measure import measure

    scores, confusion, outputs = measure(subject, device, subject.recipe.data.verify if verify is None else verify)
    calibration = Calibration.of(outputs, subject.temperature)
    predictions = outputs.predictions(calibration.temperature)
    evaluation = Evaluation(
        subject,
        scores,
        calibration,
        class_scores(confusion, subject.dataset.classes),
        confusion,
        outputs,
        find_mistakes(predictions, subject.folder, subject.dataset, subject.split),
        table=run.evaluation / f"{subject.name}-classes.csv",
        plot=run.plots / f"confusion-{subject.name}.png",
        mistakes_table=run.evaluation / f"{subject.name}-mistakes.csv",
        mistakes_plot=run.plots / f"mistakes-{subject.name}.png",
        reliability_plot=run.plots / f"reliability-{subject.name}.png",
    )
    for folder in (run.evaluation, run.plots):
        folder.mkdir(exist_ok=True)
    if calibration.fitted:
        save_temperature(run.root / checkpoint, calibration.temperature)
    write_tables(evaluation)
    draw_pictures(evaluation)
    return evaluation
