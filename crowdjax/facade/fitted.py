"""Methods shared by the results of every fit: predictions, checks, report, and saving to a folder that
``crowdjax.load`` reads.
"""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa

from crowdjax import io, memory, saving
from crowdjax.cautions import about_classes, about_labels
from crowdjax.classes import places_of
from crowdjax.facade.copies import heard_again
from crowdjax.facade.next import next_instances
from crowdjax.formats import Form
from crowdjax.labels import InputError, LabelIndex, Labels, Repeats
from crowdjax.result import Prediction, class_table, labels_of_labelers, read_tables, shown
from crowdjax.roles import Columns
from crowdjax.settings import whole
from crowdjax.tables import kind_of

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int, PRNGKeyArray

    from crowdjax import report as reports
    from crowdjax.facade.arviz import Asked
    from crowdjax.integrated.checks import Checks
    from crowdjax.posterior import DataTree, Drawn


class New(NamedTuple):
    """Inferred new instances: posteriors for ``class_table``, and additions to the record, the warnings and the table.

    Example:
        >>> New(np.array([[0.2, 0.8]])).columns
        {}
    """

    posterior: Any
    record: Mapping[str, Any] = {}
    warnings: Sequence[str] = ()
    columns: Mapping[str, Any] = {}


@dataclasses.dataclass(frozen=True, repr=False)
class Fitted(Prediction):
    """Base class of fitted results: estimates for instances and labelers, and the fit.

    Attributes:
        labelers: table of labelers, of the kind that the labels came in (``crowdjax.result.labeler_table``).
        confusion: table: labeler, truth, label, probability with its interval.
        fit: parameters and convergence; rows are in the order of ``index``.
        index: the ids of labelers and instances, the classes and the values of labels.
        scaling: standardisation of the features of labelers and instances, where there are any.
    """

    fit: Any
    index: LabelIndex
    scaling: dict[io.Key, io.Scaling]

    labelers = shown("labelers")
    confusion = shown("confusion")
    _title = "Fit of"
    schooled = False  # whether checks search for schools of labelers
    clamped = True  # whether gold fixes the truth of its instances in the fit
    _unseen = "as its prior says"

    def page(self) -> reports.Page:
        """Build the HTML report (docs/reports.md).

        Raises:
            InputError: the result was loaded; a report needs counts of the labels, which are not saved.
        """
        raise NotImplementedError

    def arrays(self) -> Any:
        """Collect the arrays of ``fit.npz`` as a pytree."""
        raise NotImplementedError

    def answers_of(
        self, labels: Labels, known: Int[np.ndarray, " W"], features: Mapping[io.Key, Float[np.ndarray, "n F"] | None]
    ) -> New:
        """Infer the instances of other labels.

        Args:
            known: row of each labeler in the fit, -1 for other labelers.
            features: standardised features; rows of labelers in the fit are 0.
        """
        raise NotImplementedError

    def again(self, labels: Labels) -> Any:
        """Infer the instances of the fit again from some of their labels, the labelers held at what the fit found.

        Args:
            labels: of the fit's labelers and instances; weight 0 leaves a label out.

        Raises:
            InputError: the fit used features, which a result does not keep.
        """
        if self.scaling:
            raise InputError("labels_needed: of a fit with features; allowed: of a fit without")
        return self.answers_of(labels, np.arange(labels.n_labelers), {}).posterior

    def observed(self, part: Labels, drawn: Int[np.ndarray, " n"], replicates: int) -> tuple[Any, Any]:
        """Build an observation model with its parameters, or draws of them, from which replicates of the labels are
        drawn.

        Args:
            part: labels of some of the instances.
            drawn: indices of these instances.
        """
        raise NotImplementedError

    def looked(
        self, key: PRNGKeyArray, labels: Labels, drawn: Int[np.ndarray, " n"], features, replicates: int
    ) -> Checks:
        """Run posterior predictive checks of the fit on its labels.

        Args:
            labels: labels of some of the instances.
            drawn: indices of these instances.
            features: standardised features of these instances, where the fit used features and has not kept them.
        """
        model, params = self.observed(labels, drawn, replicates)
        if len(drawn) < len(self.index.instances) and hasattr(model, "factors"):
            raise InputError(f"labels: {self.record['n_labels']:,}; allowed with model {self.record['model']}: 200,000")
        from crowdjax.integrated.checks import Checks
        from crowdjax.observation.checks import checks

        found = checks(key, labels, model, params, replicates)
        return Checks(found.checks, (), found.surprise, discoveries(found.surprise))

    def drawn(self, asked: Asked) -> Drawn:
        """Return draws of the posterior (:meth:`to_arviz`).

        Raises:
            InputError: the model has none, or labels are missing that they need.
        """
        raise InputError(f"to_arviz: not made by {self.record['model']}; allowed: fits of two classes, and of more by "
                         "models of at most 50 classes")  # fmt: skip

    def to_arviz(
        self,
        table=None,
        *,
        gold=None,
        labeler_features=None,
        instance_features=None,
        draws: int = 1000,
        seed: int = 0,
        columns: Columns | None = None,
        form: Form | None = None,
        missing: Sequence[Any] = (),
        header: bool = True,
    ) -> DataTree:
        """Return draws of the labelers' posterior as ArviZ takes them (the extra ``arviz``).

        ``posterior`` holds, by labeler: ability and bias, sensitivity, specificity and informedness of two classes,
        the confusion of more (``crowdjax.posterior``). Its attribute ``method`` says what the draws are:

            axis, exact      of ``auto`` and ``integrated`` of two classes: the draws behind the labelers' intervals
            laplace          a normal distribution at the mode, by the curvature there; of ``auto`` and ``integrated``
                             the one behind the intervals, else by the Hessian of the log posterior with the truths
                             summed out; of more than two classes it covers better than the intervals of the table
            counts           the approximation behind the table's intervals, which takes the truths for known
            mode             one draw, the estimates: instances have numbers of their own there, and the curvature at
                             the mode says nothing of such a posterior

        Args:
            table: the labels of the fit, as in ``crowdjax.fit``: for ``log_likelihood``, of each instance's labels with
                the truth summed out, and ``observed_data``; without it draws are made where what is kept allows.
            gold: of the fit, where it fixed truths.
            labeler_features, instance_features: of the fit, where ``auto`` and ``integrated`` used any.
            draws: how many.
            seed: of the draws.
            columns, form, missing, header: as in ``crowdjax.fit``.

        Raises:
            InputError: arviz-base is not installed; labels, gold or features are missing, or not those of the fit.

        Example:
            >>> import crowdjax
            >>> labels = {"worker": list("abcabc"), "task": ["q1"] * 3 + ["q2"] * 3, "label": [1, 1, 0, 0, 0, 0]}
            >>> tree = crowdjax.fit(labels, model="one-coin").to_arviz(labels, draws=100)
            >>> tree["posterior"]["ability"].dims, tree["posterior"].attrs["method"]
            (('chain', 'draw', 'labeler', 'factor'), 'laplace')
        """
        from crowdjax.facade.arviz import to_arviz  # which knows results

        return to_arviz(
            self, table, gold=gold, labeler_features=labeler_features, instance_features=instance_features,
            draws=draws, seed=seed, columns=columns, form=form, missing=missing, header=header,
        )  # fmt: skip

    def save(self, out: str | os.PathLike, *, report: bool = False) -> None:
        """Save every table, ``fit.json`` and ``fit.npz`` to a folder; ``crowdjax.load`` reads it.

        Args:
            report: whether to write ``report.html`` and ``figures`` as well (:meth:`page`).
        """
        page = self.page() if report else None
        with saving.new_result(out, self.record) as folder:
            self.write_tables(folder)
            saving.save_arrays(folder / "fit.npz", self.arrays())
            if page is not None:
                from crowdjax import report as reports

                reports.write(page, folder)

    @memory.bounded
    def predict(
        self,
        table,
        *,
        labeler_features=None,
        instance_features=None,
        columns: Columns | None = None,
        form: Form | None = None,
        missing: Sequence[Any] = (),
        header: bool = True,
    ) -> Prediction:
        """Infer the truth of new instances from their labels, with the labelers fixed at their fitted values.

        Args:
            table: labels, as in ``crowdjax.fit``; their values are those of the fit. A labeler who is not in the fit is
                described by its features or, without features, by the model's prior or population.
            labeler_features: a table with one row for every labeler who is not in the fit, where the fit used features.
            instance_features: a table with one row for every instance, where the fit used features.
            columns, form, missing, header: as in ``crowdjax.fit``.

        Raises:
            InputError: as in ``crowdjax.fit``; a label has a value that the fit does not have; features that the fit
                used are missing, or features that it does not use are given.
        """
        started = time.perf_counter()
        sources = {"labeler_features": labeler_features, "instance_features": instance_features}
        said, tables = self.open_tables(columns, **sources)
        triples = io.read_triples(table, columns=said, like=self.index, form=form, missing=missing, header=header)
        refuse_counts(triples, self.record["model"])
        repeats = self.record["repeats"]
        labels = triples.labels(repeats=repeats)
        known = io.positions(io.ids(triples.index, "labeler"), io.ids(self.index, "labeler"))
        labels, unseen = heard_again(labels, known, self.record), known < 0
        features = {}
        for side, scaling in self.scaling.items():
            ids, needed = io.ids(triples.index, side), unseen if side == "labeler" else True
            features[side] = io.read_new_features(tables[f"{side}_features"], side, ids, scaling, needed)
        mapping = io.mapping(triples, tables)
        new = self.answers_of(labels, known, features)
        warnings = [*about_labels(labels, triples, repeats), *new.warnings]
        warnings += about_classes(new.posterior, labels_of_labelers(labels)[unseen], self.index.classes)
        if unseen.any() and "labeler" not in self.scaling:
            warnings.append(
                f"{unseen.sum()} of {len(unseen)} labelers are not in the fit; they are assumed to be {self._unseen}."
            )
        record = {
            "model": self.record["model"],
            "n_labels": int((np.asarray(labels.counts) > 0).sum()),
            "n_labelers": labels.n_labelers,
            "n_instances": labels.n_instances,
            **new.record,
            "seconds": time.perf_counter() - started,
            "n_unseen_labelers": int(unseen.sum()),
            "classes": list(self.index.classes),
            "repeats": repeats,
            "columns": mapping,
            "warnings": warnings,
        }
        answers = class_table(io.ids(triples.index, "instance"), new.posterior, self.index.classes)
        for name, values in new.columns.items():
            answers = answers.append_column(name, pa.array(values))
        return Prediction({"instances": answers}, record, kind_of(table, triples.roles))

    def open_tables(self, columns: Columns | None, **sources):
        """Open the tables of features for other labels; reject features that the fit does not use."""
        for side in ("labeler", "instance"):
            if sources.get(f"{side}_features") is not None and side not in self.scaling:
                raise InputError(f"{side} features: given, but the fit used none; leave them out or fit with them")
        names = {f"{side}_features": scaling.names for side, scaling in self.scaling.items()}
        return io.open_tables(columns, known=names, **sources)

    def next_table(self, n: int) -> pa.Table:
        """Rank the instances to label next; :meth:`next_labels` shows this table."""
        return next_instances(self.tables, self.index, whole("next", n))

    def next_labels(self, n: int = 100):
        """Rank the instances to label next by how much one more label of an average labeler lowers the expected error
        of the inferred classes (``crowdjax.facade.next``).

        Returns:
            A table of the kind that the labels came in: instance, label, confidence, and gain, by how much one more
            label lowers the probability that the inferred class is wrong. Where no label would change it, it is 0, and
            the least sure come first.

        Raises:
            InputError: n exceeds the number of instances, or the fit has more than 50 classes.

        Example: two labels against one leave more doubt than three that agree
            >>> import crowdjax
            >>> labels = {"worker": list("abcabc"), "task": ["q1"] * 3 + ["q2"] * 3, "label": [1, 1, 0, 0, 0, 0]}
            >>> crowdjax.fit(labels, model="one-coin").next_labels(1)["instance"].tolist()
            ['q1']
        """
        return self.kind(self.next_table(n))

    def checks(self, table, **settings) -> Prediction:
        """Run posterior predictive checks: compare the labels with replicates drawn from the fit
        (``crowdjax.facade.checks.check``).
        """
        from crowdjax.facade.checks import check  # which knows results

        return check(self, table, **settings)


def itself(model: Any) -> Any:
    """Return the model unchanged: the factory of a model that exists already."""
    return model


class Read(NamedTuple):
    """The files that every saved fit has: tables, index and scaling.

    Example:
        >>> Read._fields
        ('tables', 'index', 'scaling')
    """

    tables: dict[str, pa.Table]
    index: LabelIndex
    scaling: dict[io.Key, io.Scaling]

    @property
    def sizes(self) -> dict[str, int]:
        """The numbers of labelers and instances, as arguments of ``Labels.from_arrays``."""
        return dict(n_labelers=len(self.index.labelers), n_instances=len(self.index.instances))

    @property
    def blank(self) -> dict[io.Key, np.ndarray]:
        """Features of zeros in the shapes that the fit had."""
        sizes = self.sizes
        return {side: np.zeros((sizes[f"n_{side}s"], len(s.names))) for side, s in self.scaling.items()}


def read_fit(folder: Path, record: Mapping[str, Any]) -> Read:
    """Read what :meth:`Fitted.save` wrote besides the arrays; older ones have no confusions, and ``words`` for classes.

    Raises:
        KeyError, TypeError, ValueError, OSError: the record or a table is not one of a fit.
    """
    there = ("instances", "labelers", *(("confusion",) if (folder / "confusion.parquet").exists() else ()))
    tables = read_tables(folder, *there)
    classes, values = record.get("classes") or record.get("words") or (0, 1), record.get("values")
    index = io.index_of(tables["labelers"], tables["instances"], classes, values)
    index = dataclasses.replace(index, places=places_of(classes, values, record.get("kind")))
    scaling = {k: io.Scaling(*map(tuple, (v["names"], v["mean"], v["sd"]))) for k, v in record["features"].items()}
    return Read(tables, index, scaling)


def discoveries(p: Float[np.ndarray, " I"]) -> Bool[np.ndarray, " I"]:
    """Mark the p-values that are discoveries at a false discovery rate of 5 % (Benjamini and Hochberg 1995).

    Example:
        >>> discoveries(np.array([0.001, 0.04, 0.9])).tolist()
        [True, False, False]
    """
    from crowdjax.observation.checks import LEVEL

    ranked = np.sort(p)
    below = np.flatnonzero(ranked <= LEVEL * np.arange(1, len(p) + 1) / len(p))
    return p <= (ranked[below[-1]] if below.size else -1.0)


def refuse_counts(triples: io.Triples, model: str, repeats: Repeats = "count") -> None:
    """Reject counts of labels, whose labelers are unknown, for a model that distinguishes labelers."""
    if triples.anonymous and repeats != "count":
        raise InputError(f"repeats: got {repeats!r} with counts, which have no repeated labels; leave it out")
    if triples.anonymous and model != "majority":
        raise InputError(f"model: got {model} with counts, whose labelers are unknown; allowed with counts: majority "
                         "(--model majority)")  # fmt: skip
