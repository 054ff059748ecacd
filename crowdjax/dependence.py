"""Dependent labelers: find groups that repeat one hidden label.

    labels ─pairs─▶ closeness of pairs ─grow─▶ groups to look at ─judge─▶ Groups ─once─▶ weights

That two labelers agree says little: able ones do. Copying shows in errors that are shared. So the crowd is fitted
without the group, and two models of the group's labels are compared, given what the others say of each instance:

    alone    P(labels of the group | j) = Σ_k p_jk Π_i V_i[k, l_ij]
    copied   P(labels of the group | j) = Σ_k p_jk Σ_s C[k, s] Π_i V_i[s, l_ij]

Each has its parameters at their maximum; the second has one label s that all repeat, right or wrong. Where the others
know nothing (p_jk the same for all k) the two are alike, and experts among spammers raise no alarm. Each value of the
labels is taken for a class.

Everything here runs on the host (NumPy, SciPy) and draws nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from crowdjax.labels import Labels

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from scipy.sparse import csr_array

LEVEL = 0.02  # chance of a false alarm in an honest crowd, shared out over all groups that there could be
LEAST = 20  # labels of a labeler, and pairs of labels in a group, from which it is looked at
RATE = 0.16  # disagreements over pairs of labels, at most
MOST_LABELERS, MOST_VALUES, MOST_GROUPS = 2000, 50, 12
WORK, ENOUGH = 1e9, 2e5  # pairs of labels to count, about; labels to judge a group by
PAIRS, AT_ONCE = 2**20, 2**13  # of labels, that are added up at a time; labels whose numbers stay in the cache
MISFIT = 0.005  # nats that a label of a real crowd gains by one more latent variable, whatever it means
ROUNDS, FLOOR = 20, 0.1  # of EM; labels added to each cell of a confusion


class Bounds(NamedTuple):
    """What is near: disagreements over those expected, at most."""

    close: float  # of a pair that is examined
    group: float
    member: float


NEAR = (Bounds(0.02, 0.1, 0.15), Bounds(0.25, 0.2, 0.35))  # identical but for slips; and copied nine times out of ten


class Group(NamedTuple):
    """A group of labelers who repeat one another's labels.

    Attributes:
        labelers: their indices.
        common: pairs of labels that two of them gave to one instance.
        disagreements: how many of these pairs differ.
        expected: how many would, if each answered by himself as well as he does.

    Example:
        >>> Group((0, 3), 150, 0, 61.5).labelers
        (0, 3)
    """

    labelers: tuple[int, ...]
    common: int
    disagreements: int
    expected: float


class Cells(NamedTuple):
    """One label of each labeler on each instance, by instance and labeler, of repeated ones shares of it.

    Attributes:
        ends: where the labels of each instance begin and end.
        column: labeler and value of each label, as one number.
        share: of one label.

    Example:
        >>> Cells._fields[:3]
        ('ends', 'column', 'share')
    """

    ends: Int[np.ndarray, " I1"]
    column: Int[np.ndarray, " N"]
    share: Float[np.ndarray, " N"]
    n_labelers: int
    n_values: int

    def table(self) -> Table:
        """Return the same as a sparse table."""
        from scipy.sparse import csr_array  # slow to import, and of no use where no group is examined

        shape = len(self.ends) - 1, self.n_labelers * self.n_values
        return Table(csr_array((self.share, self.column, self.ends), shape), self.n_labelers, self.n_values)

    def shares(self) -> Float[np.ndarray, "W L"]:
        """Return the shares of each labeler's labels."""
        n = np.bincount(self.column, self.share, self.n_labelers * self.n_values).reshape(self.n_labelers, -1)
        return n / n.sum(1, keepdims=True)


class Table(NamedTuple):
    """One label of each labeler on each instance, as a sparse table of ones: [I, W·L], columns by labeler and value."""

    ones: csr_array
    n_labelers: int
    n_values: int

    def of(self, labelers) -> Table:
        """Return the labels of some labelers."""
        columns = (np.asarray(labelers)[:, None] * self.n_values + np.arange(self.n_values)).ravel()
        return Table(self.ones[:, columns], len(labelers), self.n_values)

    def cells(self) -> Cells:
        """Return the same, label by label."""
        ones = self.ones.sorted_indices()
        return Cells(ones.indptr, ones.indices, ones.data, self.n_labelers, self.n_values)

    def judged(self) -> csr_array:
        """Mark who judged what: [I, W]."""
        columns = np.arange(self.ones.shape[1])
        return self.ones @ type(self.ones)((np.ones(len(columns)), (columns, columns // self.n_values)))

    def once(self, labelers) -> Table:
        """Return the same table, where these labelers have one voice among them: 1 / (how many of them judged) each."""
        judged = np.diff(self.of(labelers).ones.indptr)
        of_group = np.isin(self.ones.indices // self.n_values, labelers)
        share = np.where(of_group, 1 / np.maximum(np.repeat(judged, np.diff(self.ones.indptr)), 1), 1)
        ones = type(self.ones)((self.ones.data * share, self.ones.indices, self.ones.indptr), self.ones.shape)
        return self._replace(ones=ones)


def groups(labels: Labels) -> tuple[Group, ...]:
    """Find the groups of labelers who repeat one another's labels, right or wrong.

    Example: five who repeat a coin, among seven who are right four times out of five
        >>> rng = np.random.default_rng(0)
        >>> truth, coin = rng.integers(0, 2, (2, 150))
        >>> label = np.vstack([truth ^ (rng.random((7, 150)) < 0.2), np.tile(coin, (5, 1))])
        >>> labeler, instance = np.indices(label.shape).reshape(2, -1)
        >>> groups(Labels.from_arrays(labeler, instance, label.ravel()))[0].labelers
        (7, 8, 9, 10, 11)
    """
    who, cells = cells_of(labels)
    if len(who) < 3:
        return ()
    counted, shares, table = pairs(cells), cells.shares(), None
    gold = None if labels.gold is None or labels.n_values != labels.n_classes else np.asarray(labels.gold)
    found: list[Group] = []
    for bounds in NEAR:
        named = [i for group in found for i in group.labelers]
        for members in grow(closeness(*counted, shares, bounds.close), named):
            table = cells.table() if table is None else table
            group = judge(table, members, bounds, gold)
            if group:
                found.append(group)
                table = table.once(group.labelers)
    return tuple(group._replace(labelers=tuple(who[list(group.labelers)].tolist())) for group in found)


def once(labels: Labels, groups: Iterable[Sequence[int]]) -> Labels:
    """Give each group one voice: a label weighs 1 / (how many of its labeler's group judged the instance).

    Example:
        >>> labels = Labels.from_arrays([0, 1, 2, 0], [0, 0, 0, 1], [1, 1, 0, 1])
        >>> once(labels, [(0, 1)]).weight.tolist()
        [0.5, 0.5, 1.0, 1.0]
    """
    labeler, instance = np.asarray(labels.labeler), np.asarray(labels.instance, np.int64)
    weight = np.array(labels.counts, np.float64)
    for members in groups:
        own = np.flatnonzero(np.isin(labeler, members) & (weight > 0))
        judged = np.unique(instance[own] * labels.n_labelers + labeler[own]) // labels.n_labelers
        weight[own] /= np.bincount(judged)[instance[own]]
    return labels.with_weight(weight)


def cells_of(labels: Labels) -> tuple[Int[np.ndarray, " w"], Cells]:
    """Return (labelers with enough labels to look at, their labels); repeated labels share the weight of one."""
    real = np.asarray(labels.counts) > 0
    labeler, instance, label = (np.asarray(v)[real] for v in (labels.labeler, labels.instance, labels.label))
    pair = np.r_[True, (instance[1:] != instance[:-1]) | (labeler[1:] != labeler[:-1])][: len(labeler)]
    cell = pair | np.r_[True, label[1:] != label[:-1]][: len(labeler)]  # labels are in this order
    times = np.bincount(np.cumsum(pair) - 1)[np.cumsum(pair)[cell] - 1]
    share = np.diff(np.r_[np.flatnonzero(cell), len(cell)]) / times
    labeler, instance, label = labeler[cell], instance[cell], label[cell]
    n = np.round(np.bincount(labeler, share, minlength=labels.n_labelers))
    who = np.sort(np.argsort(-n, kind="stable")[:MOST_LABELERS])
    who = who[n[who] >= LEAST] if labels.n_values <= MOST_VALUES else who[:0]
    row = np.full(labels.n_labelers, -1)
    row[who] = np.arange(len(who))
    kept = row[labeler] >= 0
    column = (row[labeler[kept]] * labels.n_values + label[kept]).astype(np.int32)
    ends = np.r_[0, np.cumsum(np.bincount(instance[kept], minlength=labels.n_instances))].astype(np.int32)
    return who, Cells(ends, column, share[kept].astype(np.float32), len(who), labels.n_values)


def pairs(cells: Cells) -> tuple[Float[np.ndarray, "W W"], Float[np.ndarray, "W W"]]:
    """Return (instances that two labelers both judged, disagreements among these) of every pair.

    Of very large tables only some instances are counted, evenly.
    """
    w, n_values, each = cells.n_labelers, cells.n_values, np.diff(cells.ends).astype(float)
    by_pair, by_table = (each**2).sum(), each.size * w * w * n_values / 100
    every = int(np.ceil(min(by_pair, by_table) / WORK))
    if by_table < by_pair:
        common, agreed = _pairs_of_table(cells, every)
        differ = common - agreed
    else:
        differ, agreed = _pairs_of_cells(cells, every)
        common = differ + agreed
    common, differ = common.astype(np.float32), differ.astype(np.float32)
    np.fill_diagonal(common, 0)
    np.fill_diagonal(differ, 0)
    return common, differ


def _pairs_of_table(cells: Cells, every: int):
    """Return (common, agreed) of all pairs, by the products of parts of a table that is nearly full.

    Args:
        every: every so many instances are counted.
    """
    w, n_values = cells.n_labelers, cells.n_values
    common, agreed = np.zeros((w, w), np.float32), np.zeros((w, w), np.float32)
    instances = np.arange(0, len(cells.ends) - 1, every)
    step = max(1, int(2e7 / max(1, w * n_values)))
    for start in range(0, len(instances), step):
        at = instances[start : start + step]
        each = np.diff(cells.ends)[at]
        of = np.repeat(cells.ends[at] - np.r_[0, np.cumsum(each)[:-1]], each) + np.arange(each.sum())
        part = np.zeros((len(at), w * n_values), np.float32)
        part[np.repeat(np.arange(len(at)), each), cells.column[of]] = cells.share[of]
        part = part.reshape(-1, w, n_values)
        for value in range(n_values):
            agreed += part[:, :, value].T @ part[:, :, value]
        judged = part.sum(2)
        common += judged.T @ judged
    return common, agreed


def _pairs_of_cells(cells: Cells, every: int):
    """Return (disagreements, agreements) of all pairs, label by label: those of instances with as many labels at once,
    each label with the next one on its instance, the one after that, and so on.

    Args:
        every: every so many instances are counted.
    """
    w, each = cells.n_labelers, np.diff(cells.ends)
    who = cells.column // cells.n_values
    value = cells.column - who * cells.n_values
    use = np.arange(len(each)) % every == 0
    counted, number = np.zeros(2 * w * w), 0
    place, weight = np.empty(PAIRS, np.int64), np.empty(PAIRS)  # of pairs that wait to be counted
    for n in np.flatnonzero(np.bincount(each[use], minlength=2)[2:]) + 2:
        first, step = cells.ends[:-1][use & (each == n)], max(1, AT_ONCE // n)
        for start in range(0, len(first), step):
            of = first[start : start + step] + np.arange(n)[:, None]  # [n, instances]
            row, column, said, share = 2 * w * who[of], 2 * who[of], value[of], cells.share[of]
            for further in range(1, n):
                cell = row[:-further] + column[further:] + (said[:-further] == said[further:])
                if number + cell.size > PAIRS:
                    counted += np.bincount(place[:number], weight[:number], len(counted))
                    number = 0
                at = slice(number, number + cell.size)
                place[at], weight[at] = cell.ravel(), (share[:-further] * share[further:]).ravel()
                number += cell.size
    counted += np.bincount(place[:number], weight[:number], len(counted))
    differ, agreed = np.moveaxis(counted.reshape(w, w, 2), 2, 0)
    return differ + differ.T, agreed + agreed.T


def closeness(common, differ, shares: Float[np.ndarray, "W L"], fewer: float) -> Float[np.ndarray, "W W"]:
    """Return how much likelier the disagreements of a pair are if they are few: log Bin(d | n, q fewer) - log Bin(d |
    n, q).

    q is how often its labelers disagree with anybody, of the two the one who does less; and not more than their shares
    of labels allow, by which those who always say the same are not close.
    """
    rate, shares = differ.sum(1) / np.maximum(common.sum(1), 1), shares.astype(common.dtype)
    q = np.minimum(np.minimum(rate[:, None], rate), 1 - shares @ shares.T)
    np.clip(q, 1e-3, 1 - 1e-3, out=q)
    out = np.log((1 - fewer * q) / (1 - q))
    out *= common - differ
    out += differ * common.dtype.type(np.log(fewer))
    np.fill_diagonal(out, 0)
    return out


def grow(close: Float[np.ndarray, "W W"], named: Sequence[int] = ()) -> list[list[int]]:
    """Grow groups of labelers close to each other, no labeler in two: from every labeler the next closest, while any
    is.

    Args:
        named: labelers to leave out.
    """
    left, out = close.copy(), []
    left[list(named)] = left[:, list(named)] = -np.inf
    while len(out) < MOST_GROUPS:
        nearest = left.max(1)
        seeds = [seed for seed in np.argsort(-nearest, kind="stable")[:200] if nearest[seed] > 0]
        best = max((_from(left, seed) for seed in seeds), key=lambda g: g[0], default=(0.0, [0]))
        if best[0] <= penalty(len(close), len(best[1])):
            return out
        out.append(sorted(best[1]))
        left[best[1]] = left[:, best[1]] = -np.inf
    return out


def _from(close, seed: int) -> tuple[float, list[int]]:
    """Return (the sum of closeness of all pairs of a group, the group that grows from one labeler)."""
    members, gain, total = [int(seed)], close[seed].copy(), 0.0
    gain[seed] = -np.inf
    while gain[new := int(gain.argmax())] > 0:
        total += gain[new]
        members.append(new)
        gain += close[new]
        gain[new] = -np.inf
    return total, members


def penalty(n_labelers: int, size: int) -> float:
    """Return the log of how many groups of this size there could be, over the level: what evidence has to exceed.

    Example:
        >>> round(float(np.exp(penalty(12, 2)) * LEVEL))
        66
    """
    n, g = n_labelers, size
    return math.lgamma(n + 1) - math.lgamma(g + 1) - math.lgamma(n - g + 1) - math.log(LEVEL)


def judge(table: Table, members: list[int], bounds: Bounds, gold=None) -> Group | None:
    """Return the group without labelers who do not belong to it, if its members repeat one label."""
    asked, n_labelers = np.diff(table.of(members).ones.indptr) > 1, len(members)
    asked[:: int(np.ceil(table.ones.nnz / ENOUGH))] = True  # of very large tables, the group's instances and some more
    table, gold = table._replace(ones=table.ones[asked]), None if gold is None else gold[asked]
    common, differ = pairs(table.of(members).cells())
    if differ.sum() > RATE * common.sum():
        return None
    others = table.of(np.setdiff1d(np.arange(table.n_labelers), members))
    expected = expectation(table.of(members), consensus(others, gold)[1])
    while len(members) > 1:  # whoever disagrees with the group as often as he would by himself is none of it
        ratio = differ.sum(1) / np.maximum(expected.sum(1), 1e-9)
        worst = int(ratio.argmax())
        if ratio[worst] <= bounds.member:
            break
        members = members[:worst] + members[worst + 1 :]
        common, differ, expected = (np.delete(np.delete(m, worst, 0), worst, 1) for m in (common, differ, expected))
    n, d, e = common.sum() / 2, differ.sum() / 2, expected.sum() / 2
    if len(members) < 2 or n < LEAST or d > bounds.group * e:
        return None
    if len(members) < n_labelers:  # once more, by the others with those who left
        return judge(table, members, bounds, gold)
    return Group(tuple(members), round(n), round(d), float(e)) if repeated(table, members, gold) else None


def repeated(table: Table, members: list[int], gold=None) -> bool:
    """Test whether one label that the group repeats explains its labels better than the truth alone.

    The others have one confusion matrix between them: with one each, a crowd that knows nothing finds a truth by
    chance. A crowd of independent labelers may take the truth from the others or from the group,
    whichever explains all labels better.
    """
    others = np.setdiff1d(np.arange(table.n_labelers), members)
    own, rest = table.of(members), table.of(others)
    value, p = consensus(rest, gold, n_pooled=len(others))
    votes, asked = _votes(own), np.diff(own.ones.indptr) > 1
    copied, alone = (value + max(latent(own, p, q, repeats) for q in (p, votes)) for repeats in (True, False))
    led, _ = consensus(table.of([*others, *members]), gold, np.where(asked[:, None], votes, p), len(others))
    free = slack(rest.ones[asked].sum(), table.n_values)
    return min(copied - alone, copied - led - free) > -np.log(LEVEL)


def slack(n_labels: float, n_values: int) -> float:
    """Return how much a crowd gains by a truth of its own where there is none: for its confusion matrix, and for each
    label.

    Example:
        >>> slack(1000, 2)
        5.75
    """
    return 0.75 * (n_values - 1) ** 2 + MISFIT * float(n_labels)


def consensus(table: Table, gold=None, q=None, n_pooled: int = 0) -> tuple[float, Float[np.ndarray, "I L"]]:
    """Return (log-likelihood, P(value of the truth | labels)) by Dawid and Skene's model, its EM started at the votes.

    Args:
        n_pooled: so many labelers, the first, have one confusion matrix between them.
    """
    q = _votes(table) if q is None else q
    for _ in range(ROUNDS):
        log = np.log(q.mean(0) + 1e-9) + table.ones @ np.log(_confusions(table, q, FLOOR, n_pooled))
        total, q = _normal(log)
        if gold is not None:
            q[gold >= 0] = np.eye(table.n_values)[gold[gold >= 0]]
    return float(total.sum()), q


def expectation(table: Table, p: Float[np.ndarray, "I L"]) -> Float[np.ndarray, "W W"]:
    """Return the disagreements expected of independent pairs: Σ_j 1 - Σ_k p_jk Σ_l V_a[k, l] V_b[k, l]."""
    w, n_values = table.n_labelers, table.n_values
    v = _confusions(table, p, FLOOR).reshape(w, n_values, n_values)  # labeler, label, truth
    judged = table.judged()
    out = np.zeros((w, w))
    for k in range(n_values):
        out += (judged.multiply(p[:, [k]]).T @ judged).toarray() * (1 - v[:, :, k] @ v[:, :, k].T)
    np.fill_diagonal(out, 0)
    return out


def latent(table: Table, p, start, copied: bool) -> float:
    """Return the log-likelihood of a group's labels at its maximum, with a label s of its own or (C = 1) the truth."""
    q, prior = start, p
    for _ in range(ROUNDS):
        if copied:
            c = p.T @ q + FLOOR
            prior = p @ (c / c.sum(1, keepdims=True))
        log = np.log(prior + 1e-9) + table.ones @ np.log(_confusions(table, q, FLOOR))
        total, q = _normal(log)
    return float(total.sum())


def _votes(table: Table) -> Float[np.ndarray, "I L"]:
    """Return the shares of values in an instance's labels, and a little of each."""
    votes = table.ones @ np.tile(np.eye(table.n_values), (table.n_labelers, 1)) + 0.1
    return votes / votes.sum(1, keepdims=True)


def _confusions(table: Table, q, floor: float, n_pooled: int = 0) -> Float[np.ndarray, "WL K"]:
    """Return P(label | labeler, truth), rows by labeler and label."""
    counts = (table.ones.T @ q).reshape(table.n_labelers, table.n_values, q.shape[1]) + floor
    counts[:n_pooled] = counts[:n_pooled].sum(0)
    return (counts / counts.sum(1, keepdims=True)).reshape(-1, q.shape[1])


def _normal(log) -> tuple[Float[np.ndarray, " I"], Float[np.ndarray, "I K"]]:
    """Return (log Σ_k exp, the shares of each k)."""
    log = np.asfortranarray(log)
    top = log.max(1)
    p = np.exp(log - top[:, None])
    total = p.sum(1)
    return top + np.log(total), p / total[:, None]
