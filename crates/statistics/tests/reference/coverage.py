"""Prints how often 95 % intervals of a p99 hold the truth, for four ways to make them: the table in src/bootstrap.rs.

Test-only, run by hand (under a minute). Last run with Python 3.11.7, SciPy 1.17.1, NumPy 2.4.6:

    venv/bin/python crates/statistics/tests/reference/coverage.py

Latencies are log-normal; in logarithms samples differ by 0.5 within a run, runs by `between`.
"""

import numpy as np
from scipy import stats

WITHIN, SAMPLES, RESAMPLES, MEASURINGS = 0.5, 300, 1000, 1000
random = np.random.default_rng(20260102)


def p99(tops, rank):
    """The rank-th largest sample of all runs on the last two axes; each run's largest are enough to know it."""
    merged = tops.reshape(*tops.shape[:-2], -1)
    return -np.partition(-merged, rank - 1, axis=-1)[..., rank - 1]


def intervals(tops, rank_of):
    runs = len(tops)
    estimate = p99(tops, rank_of(runs))
    replicates = np.sort(p99(tops[random.integers(0, runs, (RESAMPLES, runs))], rank_of(runs)))
    between = lambda low, high: (replicates[int(low * (RESAMPLES - 1))], replicates[int(np.ceil(high * (RESAMPLES - 1)))])
    wide = stats.t.ppf(0.975, runs - 1) * np.sqrt(runs / (runs - 1))
    below = (np.sum(replicates < estimate) + 0.5 * np.sum(replicates == estimate)) / RESAMPLES
    bias = stats.norm.ppf(np.clip(below, 1e-3, 1 - 1e-3))
    left_out = np.array([p99(np.delete(tops, run, axis=0), rank_of(runs - 1)) for run in range(runs)])
    distance = left_out.mean() - left_out
    skew = np.sum(distance**3) / (6 * np.sum(distance**2) ** 1.5) if distance.any() else 0.0
    bca = lambda z: stats.norm.cdf(bias + (bias + z) / (1 - skew * (bias + z)))
    return {
        "percentile": between(0.025, 0.975),
        "expanded": between(stats.norm.cdf(-wide), stats.norm.cdf(wide)),
        "BCa": between(bca(-1.959964), bca(1.959964)),
        "t": (estimate - wide * replicates.std(), estimate + wide * replicates.std()),
    }


rank_of = lambda runs: runs * SAMPLES - int(np.ceil(0.99 * runs * SAMPLES)) + 1
for between_runs in [0.2, 0.5]:
    truth = stats.norm.ppf(0.99) * np.hypot(between_runs, WITHIN)
    for runs in [5, 10]:
        held = {}
        for _ in range(MEASURINGS):
            levels = random.normal(0, between_runs, (runs, 1))
            tops = np.sort(levels + random.normal(0, WITHIN, (runs, SAMPLES)))[:, -rank_of(runs):]
            for name, (low, high) in intervals(tops, rank_of).items():
                held[name] = held.get(name, 0) + (low <= truth <= high)
        print(f"runs differ by {between_runs}, {runs} runs:", {name: round(100 * hits / MEASURINGS) for name, hits in held.items()})
