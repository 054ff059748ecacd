"""Convert frames of ``task``, ``worker`` and ``label`` to numbers, and results to a Series and a frame."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np
from jaxtyping import Float

from crowdjax.extras import needed
from crowdjax.labels import InputError

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("task", "worker", "label")


@dataclasses.dataclass(frozen=True)
class Votes:
    """The rows of a frame as integers: ``tasks[task[n]]`` was given the label ``classes[label[n]]`` by
    ``workers[worker[n]]``.
    """

    task: np.ndarray
    worker: np.ndarray
    label: np.ndarray
    tasks: pd.Index
    workers: pd.Index
    classes: pd.Index

    @property
    def table(self) -> dict[str, np.ndarray]:
        """The votes as a table that ``crowdjax.fit`` reads."""
        return {"labeler": self.worker, "instance": self.task, "label": self.label}

    def sums(self, each: Float[np.ndarray, " N"] | None = None) -> Float[np.ndarray, "I K"]:
        """Sum a value of each row by instance and label; by default count the rows."""
        shape = len(self.tasks), len(self.classes)
        slot = self.task * shape[1] + self.label
        return np.bincount(slot, each, shape[0] * shape[1]).reshape(shape)

    def by_worker(self, each: Float[np.ndarray, " N"]) -> Float[np.ndarray, " W"]:
        """Average a value of each row by labeler."""
        n = len(self.workers)
        return np.bincount(self.worker, each, n) / np.bincount(self.worker, minlength=n)


class Answers(NamedTuple):
    """The inferred label of every instance and the probability of each label."""

    labels: pd.Series
    probas: pd.DataFrame


class Settings:
    """The settings protocol of scikit-learn's estimators, over the fields of a dataclass."""

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the settings by name."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}  # pyright: ignore

    def set_params(self, **settings) -> Self:
        """Change settings; reject unknown names."""
        known = self.get_params()
        for name, value in settings.items():
            if name not in known:
                raise InputError(f"{type(self).__name__}: got {name}; allowed: {', '.join(known) or 'no settings'}")
            setattr(self, name, value)
        return self

    def _fitted(self, attribute: str) -> Any:
        """Return what a fit found."""
        if not hasattr(self, attribute):
            raise InputError(f"{type(self).__name__}: not fitted yet; call fit first")
        return getattr(self, attribute)


def answers(votes: Votes, p: Float[np.ndarray, "I K"]) -> Answers:
    """Choose the most probable label of each instance under the probabilities p; a tie goes to the least label."""
    import pandas as pd

    tasks = votes.tasks.rename("task")
    labels = pd.Series(votes.classes[p.argmax(1)], tasks, name="agg_label")
    return Answers(labels, pd.DataFrame(p, tasks, votes.classes.rename("label")))


def by_worker(votes: Votes, values: np.ndarray, name: str) -> pd.Series:
    """Build a Series of this name by labeler."""
    import pandas as pd

    return pd.Series(values, votes.workers.rename("worker"), name=name)


def read(
    data: pd.DataFrame, *, by_id: bool = False, workers: pd.Index | None = None, classes: pd.Index | None = None
) -> Votes:
    """Number the rows of a frame; labelers beyond those given are numbered after them."""
    with needed("crowdjax.adapters"):
        import pandas as pd

    if not isinstance(data, pd.DataFrame):
        raise InputError(
            f"data: got {type(data).__name__}; allowed: a pandas DataFrame with columns task, worker, label"
        )
    for column in COLUMNS:
        if list(data.columns).count(column) != 1:
            times = "no" if column not in data.columns else "more than one"
            raise InputError(f"data: {times} column {column!r}; allowed: a frame with columns task, worker and label")
        absent = np.flatnonzero(data[column].isna())
        if absent.size:
            raise InputError(f"data: column {column!r}, row {absent[0] + 1}: no value; allowed: one in every row")
    if data.empty:
        raise InputError("data: no rows; at least one label is needed")
    task, tasks = _numbered(data["task"], sort=by_id)
    worker, found = _numbered(data["worker"])
    if workers is not None:
        new = ~found.isin(workers)
        place = workers.get_indexer(found)
        place[new] = len(workers) + np.arange(new.sum())
        worker, found = place[worker], workers.append(found[new])
    label, values = _numbered(data["label"], sort=True)
    if classes is None:
        if len(values) < 2:
            raise InputError(f"data: column 'label' has 1 value ({shown(values)}); allowed: two or more")
        classes = values
    elif not values.isin(classes).all():
        other = values[~values.isin(classes)]
        raise InputError(f"data: column 'label' has {shown(other)}; allowed: {shown(classes)}, as in the fit")
    else:
        label = classes.get_indexer(values)[label]
    return Votes(task, worker, label, tasks, found, classes)


def _numbered(column: pd.Series, *, sort: bool = False) -> tuple[np.ndarray, pd.Index]:
    import pandas as pd

    try:
        codes, values = pd.factorize(column, sort=sort)
    except TypeError:
        kind = type(column.iloc[0]).__name__
        raise InputError(f"data: column {column.name!r}, row 1: a {kind}; allowed: text, numbers, dates") from None
    return codes, pd.Index(values)


def shown(values: pd.Index, most: int = 4) -> str:
    """Format the first of the values for a message."""
    return ", ".join(repr(v) for v in values[:most].tolist()) + ", ..." * (len(values) > most)


def series(given, name: str, of: str) -> pd.Series:
    """Check that the argument is a Series with one entry for each."""
    import pandas as pd

    if not (isinstance(given, pd.Series) and given.index.is_unique):
        got = "a Series that names one twice" if isinstance(given, pd.Series) else type(given).__name__
        raise InputError(f"{name}: got {got}; allowed: a pandas Series with one entry for each {of}")
    return given


def known_truths(votes: Votes, true_labels: pd.Series) -> dict[str, np.ndarray] | None:
    """Select the known truths of the frame's instances; None without any."""
    true_labels = series(true_labels, "true_labels", "task")
    known = true_labels[true_labels.index.isin(votes.tasks)].dropna()
    label = votes.classes.get_indexer(known)
    wrong = np.flatnonzero(label < 0)
    if wrong.size:
        raise InputError(f"true_labels: got {known.iloc[wrong[0]]!r}; allowed: {shown(votes.classes)}")
    return {"instance": votes.tasks.get_indexer(known.index), "label": label} if len(known) else None
