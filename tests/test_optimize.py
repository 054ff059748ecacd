"""The loop driver finds minima, says how it ended, and treats every member of a batch as if it were alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from crowdjax import optimize
from crowdjax.directions import conjugate_gradient, lbfgs
from crowdjax.optimize import (
    CONVERGED,
    MAX_STEPS,
    MEANING,
    NONFINITE,
    STALLED,
    Step,
    accelerate,
    iterate,
    minimize,
    minimizer,
)

RULES = {"lbfgs": lbfgs(), "cg": conjugate_gradient()}
ONES = jnp.ones_like


def value_and_grad(f):
    def objective(x):
        value, grad = jax.value_and_grad(f)(x)
        return value, grad, None

    return objective


def quadratic(n, condition, seed=0):
    """½ (x - c)ᵀ A (x - c) + 7 with eigenvalues from 1 to ``condition``; its minimum is 7, at c."""
    rng = np.random.default_rng(seed)
    q, _ = np.linalg.qr(rng.normal(size=(n, n)))
    a, c = (q * np.geomspace(1, condition, n)) @ q.T, rng.normal(size=n)
    return value_and_grad(lambda x: 0.5 * (x - c) @ jnp.asarray(a, x.dtype) @ (x - c) + 7), a, c


def rosenbrock(x):
    return (100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum()


@pytest.mark.parametrize("rule", RULES)
def test_finds_the_minimum_of_an_ill_conditioned_quadratic(x64, rule):
    f, a, c = quadratic(12, 1e3)
    found = jax.jit(lambda x: minimize(f, x, RULES[rule], diagonal=lambda x: jnp.diag(a), max_steps=1000, rtol=1e-14))(
        jnp.zeros(12)
    )
    assert found.code == CONVERGED
    np.testing.assert_allclose(found.value, 7, rtol=1e-10)
    np.testing.assert_allclose(found.x, c, atol=1e-4)
    np.testing.assert_allclose(found.grad, a @ (np.asarray(found.x) - c), atol=1e-10)


@pytest.mark.parametrize("rule", RULES)
def test_finds_the_minimum_of_rosenbrock(x64, rule):
    f = value_and_grad(rosenbrock)
    found = jax.jit(lambda x: minimize(f, x, RULES[rule], diagonal=ONES, max_steps=3000, rtol=1e-14))(
        jnp.array([-1.2, 1.0, -1.2, 1.0])
    )
    assert found.code == CONVERGED and found.value < 1e-9, (found.value, found.n_steps)
    np.testing.assert_allclose(found.x, 1, atol=1e-3)


def test_finds_the_minimum_in_float32():
    f, a, _ = quadratic(12, 1e3)
    found = jax.jit(lambda x: minimize(f, x, lbfgs(), diagonal=lambda x: jnp.diag(a).astype(x.dtype), max_steps=400))(
        jnp.zeros(12)
    )
    assert found.code in (CONVERGED, STALLED) and found.value.dtype == jnp.float32
    np.testing.assert_allclose(found.value, 7, rtol=1e-5)


def test_the_right_diagonal_ends_a_diagonal_quadratic_at_once():
    """With the Hessian itself as preconditioner the first step is Newton's."""
    scale = jnp.geomspace(1, 1e6, 8)
    f = value_and_grad(lambda x: 0.5 * (scale * (x - 1) ** 2).sum())
    found = minimize(f, jnp.zeros(8), lbfgs(), diagonal=lambda x: scale, max_steps=30)
    assert found.n_steps <= 5
    np.testing.assert_allclose(found.x, 1, atol=1e-6)


def test_history_is_the_value_after_each_evaluation_never_rises_and_ends_with_nan(x64):
    found = minimize(value_and_grad(rosenbrock), jnp.array([-1.2, 1.0]), lbfgs(), diagonal=ONES, max_steps=200)
    n = int(found.n_steps)
    history = np.asarray(found.history)
    assert n < 200 and np.isfinite(history[:n]).all() and np.isnan(history[n:]).all()
    np.testing.assert_allclose(history[0], 24.2, rtol=1e-14)
    assert (np.diff(history[:n]) <= 1e-14 * np.abs(history[: n - 1])).all()
    assert history[n - 1] == found.value
    np.testing.assert_allclose(found.value, rosenbrock(found.x), atol=1e-18)


def test_limits_count_evaluations(x64):
    seen = []

    def counted(x):
        jax.debug.callback(lambda: seen.append(1))
        return value_and_grad(rosenbrock)(x)

    start = jnp.array([-1.2, 1.0])
    run = jax.jit(lambda limit: minimize(counted, start, lbfgs(), diagonal=ONES, max_steps=50, limit=limit))
    for limit, expected in [(0, 0), (1, 1), (7, 7), (99, 50)]:
        seen.clear()
        found = jax.block_until_ready(run(limit))
        jax.effects_barrier()
        if limit == 99:
            assert found.n_steps <= expected
        else:
            assert found.n_steps == expected and found.code == MAX_STEPS
        assert len(seen) == found.n_steps
        assert np.isnan(found.history[int(found.n_steps) :]).all()
    assert MAX_STEPS in MEANING


def test_no_work_returns_the_start():
    found = minimize(value_and_grad(rosenbrock), jnp.array([3.0, 4.0]), lbfgs(), diagonal=ONES, max_steps=5, limit=0)
    np.testing.assert_array_equal(found.x, [3, 4])
    assert found.n_steps == 0


def test_a_start_at_the_minimum_converges_there():
    found = minimize(value_and_grad(rosenbrock), jnp.ones(3), lbfgs(), diagonal=ONES, max_steps=50)
    assert found.code == CONVERGED and found.n_steps == 1
    np.testing.assert_array_equal(found.x, 1)


@pytest.mark.parametrize("bad", [jnp.nan, jnp.inf, -jnp.inf])
def test_a_start_without_a_finite_value_is_said(bad):
    found = minimize(lambda x: (x.sum() * 0 + bad, x, None), jnp.ones(2), lbfgs(), diagonal=ONES, max_steps=50)
    assert found.code == NONFINITE and found.n_steps == 1
    np.testing.assert_array_equal(found.x, 1)


def test_a_start_without_a_finite_gradient_is_said():
    found = minimize(lambda x: (x.sum(), x * jnp.nan, None), jnp.ones(2), lbfgs(), diagonal=ONES, max_steps=50)
    assert found.code == NONFINITE


@pytest.mark.parametrize("outside", [jnp.nan, jnp.inf])
def test_steps_into_a_region_without_finite_values_are_taken_back(x64, outside):
    """x - log x is finite for x > 0 only; its first full step from 10 leads to -80."""

    def f(x):
        inside = x[0] > 0
        safe = jnp.where(inside, x[0], 1.0)
        return jnp.where(inside, safe - jnp.log(safe), outside), jnp.where(inside, 1 - 1 / safe, jnp.nan)[None], None

    found = minimize(f, jnp.array([10.0]), lbfgs(), diagonal=lambda x: 0 * x + 0.01, max_steps=100, rtol=1e-14)
    assert found.code == CONVERGED
    np.testing.assert_allclose(found.x, 1, atol=1e-5)


def test_a_gradient_that_does_not_belong_to_the_value_stalls():
    """An ascent direction throughout: no step is ever accepted, and the start is what comes back."""
    found = minimize(lambda x: ((x**2).sum() - 2, -2 * x, None), jnp.ones(2), lbfgs(), diagonal=ONES, max_steps=100)
    assert found.code == STALLED and found.n_steps < 100
    np.testing.assert_array_equal(found.x, 1)


def test_every_code_has_a_meaning():
    assert sorted(MEANING) == list(range(6))
    assert all(MEANING.values())


def test_what_the_objective_returns_besides_belongs_to_the_best_point(x64):
    f = lambda x: (rosenbrock(x), jax.grad(rosenbrock)(x), {"at": x})  # noqa: E731
    run = jax.jit(lambda limit: minimize(f, jnp.array([-1.2, 1.0]), lbfgs(), diagonal=ONES, max_steps=50, limit=limit))
    for limit in range(1, 12):
        found = run(limit)
        np.testing.assert_array_equal(found.aux["at"], found.x)
        np.testing.assert_allclose(found.value, rosenbrock(found.x))


STARTS = jnp.array([[1.0, 1.0], [-1.2, 1.0], [5.0, -3.0], [jnp.nan, 0.0]])


@pytest.mark.parametrize("refresh", [0, 10])
def test_members_of_a_batch_end_as_they_would_alone(x64, refresh):
    """One starts at the optimum, one fails at once: neither spoils, nor is spoiled by, the others."""
    f = value_and_grad(rosenbrock)
    one = lambda x: minimize(f, x, lbfgs(), diagonal=lambda x: 1 + 100 * x**2, max_steps=300, refresh=refresh)  # noqa: E731
    batch = jax.jit(jax.vmap(one))(STARTS)
    alone = [jax.jit(one)(x) for x in STARTS]
    np.testing.assert_array_equal(batch.code, [int(a.code) for a in alone])
    np.testing.assert_array_equal(batch.code, [CONVERGED, CONVERGED, CONVERGED, NONFINITE])
    assert batch.n_steps[0] == 1
    for k, a in enumerate(alone[:3]):
        np.testing.assert_allclose(batch.x[k], a.x, atol=1e-4)
        np.testing.assert_allclose(batch.value[k], a.value, atol=1e-6)


def test_lbfgs_equals_the_dense_bfgs_formula(x64):
    """Nocedal and Wright, equation 6.17, from the inverse of the given diagonal, over pairs that fit the memory."""
    f, *_ = quadratic(6, 50)
    rule, d = lbfgs(4), jnp.linspace(1, 3, 6)
    rng = np.random.default_rng(1)
    points = rng.normal(size=(5, 6))
    state = rule.init(jnp.zeros(6))
    h = np.diag(1 / np.asarray(d))
    gradients = [np.asarray(f(jnp.asarray(x))[1]) for x in points]
    for k, (x, gradient) in enumerate(zip(points, gradients, strict=True)):
        before = points[max(k - 1, 0)], gradients[max(k - 1, 0)]
        update, state = rule.update(jnp.asarray(gradient), state, jnp.asarray(x), before=before, diagonal=d)
        if k:
            s, y = x - points[k - 1], gradient - gradients[k - 1]
            rho = 1 / (s @ y)
            v = np.eye(6) - rho * np.outer(y, s)
            h = v.T @ h @ v + rho * np.outer(s, s)
        np.testing.assert_allclose(update, h @ gradient, rtol=1e-9)


def test_lbfgs_forgets_the_oldest_pair(x64):
    f, _, _ = quadratic(6, 50)
    points = jnp.asarray(np.random.default_rng(2).normal(size=(7, 6)))

    def direction(points, memory):
        rule = lbfgs(memory)
        state = rule.init(jnp.zeros(6))
        before = points[0], f(points[0])[1]
        for x in points:
            now = x, f(x)[1]
            update, state = rule.update(now[1], state, x, before=before, diagonal=jnp.ones(6))
            before = now
        return update

    np.testing.assert_allclose(direction(points, 3), direction(points[3:], 5), rtol=1e-9)


def test_what_is_no_pair_takes_the_place_of_the_oldest(x64):
    """A rejected point, and one across a ridge (negative curvature): what is left are the newer pairs."""
    f, _, _ = quadratic(6, 50)
    points = jnp.asarray(np.random.default_rng(3).normal(size=(5, 6)))
    gradients = [f(x)[1] for x in points]

    def after(pairs, memory, last=None):
        rule = lbfgs(memory)
        state = rule.init(jnp.zeros(6))
        for k in pairs:
            before = points[k - 1], gradients[k - 1]
            update, state = rule.update(gradients[k], state, points[k], before=before, diagonal=jnp.ones(6))
        if last is not None:
            before = points[4], gradients[4]
            _, state = rule.update(-gradients[2], state, points[2], before=before, diagonal=jnp.ones(6), **last)
            before = points[4] + 1, gradients[4]  # a step without any change of the gradient: no curvature
            update, state = rule.update(gradients[4], state, points[4], before=before, diagonal=jnp.ones(6))
        return update

    for last in ({"accepted": False}, {}):
        np.testing.assert_allclose(after([2, 3, 4], 3, last), after([3, 4], 3), rtol=1e-9)


def test_conjugate_gradients_end_a_quadratic_in_n_exact_steps(x64):
    """With exact line searches n directions span the space (Nocedal and Wright, theorem 5.1)."""
    f, a, c = quadratic(5, 100)
    rule, x = conjugate_gradient(), jnp.zeros(5)
    state, before = rule.init(x), (x, jnp.zeros(5))
    for _ in range(5):
        gradient = f(x)[1]
        p, state = rule.update(gradient, state, x, before=before, diagonal=jnp.ones(5))
        before = x, gradient
        x = x - (gradient @ p) / (p @ a @ p) * p
    np.testing.assert_allclose(x, c, atol=1e-8)


def test_conjugate_gradients_are_the_textbooks_with_any_diagonal(x64):
    """Polak and Ribière's β over changing diagonals; a step that is not accepted leaves no trace, a restart forgets."""
    rng = np.random.default_rng(3)
    rule = conjugate_gradient()
    state = rule.init(jnp.zeros(6))
    gradients = np.r_[rng.normal(size=(1, 6)), np.cumsum(rng.normal(size=(11, 6)), 0)]
    direction, scaled, last = np.zeros(6), np.zeros(6), np.zeros(6)
    betas, fresh = [], True
    for k, g in enumerate(gradients):
        d, accepted, restart = rng.uniform(0.2, 5, 6), k != 4, k == 7
        beta = 0.0 if fresh else max(0.0, (g - last) @ (g / d) / (last @ scaled))
        expected = g / d + beta * direction
        found, state = rule.update(
            jnp.asarray(g), state, jnp.zeros(6), before=(jnp.zeros(6), jnp.asarray(last)), diagonal=jnp.asarray(d),
            accepted=accepted, restart=restart,
        )  # fmt: skip
        np.testing.assert_allclose(found, expected, rtol=1e-12)
        if accepted:
            np.testing.assert_allclose(state.slope, g @ expected, rtol=1e-10)
            np.testing.assert_allclose(state.steepest, g @ (g / d), rtol=1e-12)
            direction, scaled, last, fresh = expected, g / d, g, False
        fresh |= restart
        betas.append(beta)
    assert sum(b > 0 for b in betas) > 3 and 0 in betas[1:]


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_float32_stays_float32_where_others_are_64_bits_wide(x64, rule):
    x = jnp.ones(3, jnp.float32)
    state = rule.init(x)
    for _ in range(2):
        floats = [v for v in jax.tree.leaves(state) if jnp.issubdtype(v.dtype, jnp.floating)]
        assert len(floats) >= 4 and {v.dtype for v in floats} == {np.dtype("float32")}
        found, state = rule.update(2 * x, state, x, before=(0 * x, x), diagonal=x)
        assert found.dtype == np.float32


def test_iterate_follows_a_fixed_point_and_reports_the_point_of_its_value(x64):
    """x -> x/2 on x²: the value at every point visited, a quarter of the one before."""

    def step(x, k):
        return optimize.Step(x / 2, (x**2).sum(), 2 * x, x)

    found = iterate(step, jnp.array([4.0]), max_steps=100, rtol=1e-6)
    n = int(found.n_steps)
    assert found.code == CONVERGED
    np.testing.assert_allclose(found.history[:n], 16 * 0.25 ** np.arange(n))
    np.testing.assert_allclose(found.value, (found.x**2).sum())
    np.testing.assert_array_equal(found.aux, found.x)
    assert np.isnan(found.history[n:]).all()
    assert iterate(step, jnp.array([4.0]), max_steps=5).code == MAX_STEPS
    assert iterate(step, jnp.array([jnp.nan]), max_steps=5).code == NONFINITE
    none = iterate(step, jnp.array([4.0]), max_steps=5, limit=0)
    assert none.n_steps == 0 and none.x == 4


def test_iterate_counts_small_gains_over_whole_rounds(x64):
    """Three blocks of which two never gain: the loop goes on while the third does."""

    def step(x, k):
        return optimize.Step(jnp.where(k % 3 == 0, x * 0.9, x), (x**2).sum(), 2 * x, None)

    found = iterate(step, jnp.array([1.0]), max_steps=900, rtol=1e-10, period=3)
    assert found.code == CONVERGED and found.value < 1e-8


def damped(a, c):
    """A slow contraction to c: a gradient step on ½ (x-c)ᵀA(x-c) + 7, scaled to the largest eigenvalue; its metric."""
    top = np.linalg.eigvalsh(a).max()

    def step(x):
        grad = jnp.asarray(a, x.dtype) @ (x - c)
        value = 0.5 * grad @ (x - c) + 7
        return Step(x - grad / top, value, grad, None), jnp.full_like(x, top)

    return step


def test_acceleration_reaches_the_fixed_point_in_a_tenth_of_the_steps(x64):
    _, a, c = quadratic(5, 100)
    step = damped(a, c)
    slow = iterate(lambda x, k: step(x)[0], jnp.zeros(5), max_steps=5000, rtol=1e-13)
    fast = jax.jit(lambda x: accelerate(step, x, max_steps=500, rtol=1e-12))(jnp.zeros(5))
    assert fast.code == slow.code == CONVERGED
    np.testing.assert_allclose(fast.value, 7, rtol=1e-11)
    np.testing.assert_allclose(fast.x, c, atol=1e-4)
    assert fast.n_steps < slow.n_steps / 10
    history = fast.history[~np.isnan(fast.history)]
    assert len(history) == fast.n_steps and (np.diff(history) <= 1e-12).all()


def test_acceleration_stops_where_less_is_left_than_asked_for(x64):
    for condition in (3, 30, 300):
        _, a, c = quadratic(8, condition)
        found = accelerate(damped(a, c), jnp.zeros(8), max_steps=500, rtol=1e-6)
        assert found.code == CONVERGED
        assert found.value - 7 < 8e-6, condition


def test_acceleration_takes_a_step_back_that_does_not_lower_the_value():
    uphill = lambda x: (Step(x + 1, (x**2).sum(), 2 * x, None), jnp.ones_like(x))  # noqa: E731
    found = accelerate(uphill, jnp.array([0.0]), max_steps=20)
    assert found.code == STALLED
    np.testing.assert_array_equal(found.x, [0.0])
    assert found.value == 0


def test_acceleration_has_limits_and_codes(x64):
    _, a, c = quadratic(8, 1e3)
    step = damped(a, c)
    assert accelerate(step, jnp.zeros(8), max_steps=4).code == MAX_STEPS
    assert accelerate(step, jnp.full(8, jnp.nan), max_steps=4).code == NONFINITE
    none = accelerate(step, jnp.ones(8), max_steps=4, limit=0)
    assert none.n_steps == 0
    np.testing.assert_array_equal(none.x, np.ones(8))


def test_accelerated_members_of_a_batch_end_as_they_would_alone(x64):
    _, a, c = quadratic(4, 50)
    run = lambda x: accelerate(damped(a, c), x, max_steps=300, rtol=1e-10)  # noqa: E731
    starts = jnp.array([[0.0, 0, 0, 0], [30.0, -20, 5, 1], c])
    batch = jax.jit(jax.vmap(run))(starts)
    for k in range(3):
        alone = run(starts[k])
        assert batch.n_steps[k] == alone.n_steps and batch.code[k] == alone.code
        np.testing.assert_allclose(batch.x[k], alone.x, atol=1e-8)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("patience", [1, 2, 4])
def test_so_many_small_gains_in_a_row_are_the_end(x64, rule, patience):
    """With a tolerance that calls every gain small; the first evaluation gains nothing yet."""
    f, _, _ = quadratic(8, 1e3)
    found = minimize(
        f, jnp.zeros(8), RULES[rule], diagonal=lambda x: 1e3 + 0 * x, max_steps=30, rtol=1e9, patience=patience
    )
    assert found.code == CONVERGED and found.n_steps == 1 + patience


@pytest.mark.parametrize("period", [1, 3])
@pytest.mark.parametrize("patience", [1, 2, 4])
def test_so_many_rounds_of_small_gains_are_the_end(x64, patience, period):
    _, a, c = quadratic(8, 1e3)
    step = damped(a, c)
    found = iterate(lambda x, _: step(x)[0], jnp.zeros(8), max_steps=60, rtol=1e9, patience=patience, period=period)
    assert found.code == CONVERGED and found.n_steps == 1 + patience * period


@pytest.mark.parametrize("refresh", [0, 3])
def test_the_diagonal_is_that_of_the_first_point_or_of_every_so_manyth(x64, refresh):
    """And the direction counts as the preconditioned gradient at the first point only."""
    f, _, _ = quadratic(6, 50)

    def diagonal(x):
        return 60 + x**2

    loop = minimizer(f, jnp.ones(6), RULES["lbfgs"], diagonal=diagonal, max_steps=20, rtol=0, refresh=refresh)
    state, of = loop.init, None
    for k in range(8):
        state = loop.advance(state, k + 1)
        assert state.backtracks == 0  # all of them are accepted
        if k == 0 or (refresh and k % refresh == 0):
            of = diagonal(state.x)
        np.testing.assert_array_equal(state.diagonal, of)
        assert state.fresh == (k == 0)


def test_every_solution_has_the_value_and_the_gradient_of_its_point(x64):
    f, a, c = quadratic(8, 30)
    step = damped(a, c)
    found = {
        "accelerate": accelerate(step, jnp.zeros(8), max_steps=6),
        "iterate": iterate(lambda x, _: step(x)[0], jnp.zeros(8), max_steps=6),
        "minimize": minimize(f, jnp.zeros(8), RULES["cg"], diagonal=lambda x: 30 + 0 * x, max_steps=6),
    }
    for name, solution in found.items():
        value, grad, _ = f(solution.x)
        np.testing.assert_allclose(solution.value, value, rtol=1e-12, err_msg=name)
        np.testing.assert_allclose(solution.grad, grad, rtol=1e-9, atol=1e-12, err_msg=name)
