"""Writes reference.json: what SciPy and NumPy say of fixed data, for tests/against_scipy.rs.

Test-only; run by hand when a case is added, never by the tests. Last run with Python 3.11.7, SciPy 1.17.1, NumPy 2.4.6:

    python3 -m venv venv && venv/bin/pip install scipy==1.17.1 numpy==2.4.6
    venv/bin/python crates/statistics/tests/reference/reference.py
"""

import json
import pathlib

import numpy as np
import scipy
from scipy import optimize, stats

random = np.random.default_rng(20260101)


def rounded(array, digits):
    return [round(float(value), digits) for value in array]


def proportions():
    for failures, jobs in [(0, 20), (1, 29), (15, 148), (81, 263), (20, 20), (3, 1000), (499, 100_000)]:
        for confidence in [0.9, 0.95, 0.99]:
            interval = stats.binomtest(failures, jobs).proportion_ci(confidence, method="wilson")
            yield {"failures": failures, "jobs": jobs, "confidence": confidence, "low": interval.low, "high": interval.high}


def fisher():
    tables = [((3, 4), (1, 4)), ((14, 140), (3, 140)), ((0, 12), (5, 9)), ((1, 10), (9, 12)), ((7, 7), (0, 3)),
              ((12, 5000), (30, 4000)), ((0, 10), (0, 10)), ((250, 1000), (310, 1100)), ((40_000, 400_000), (39_000, 400_000))]
    for (a, m), (b, n) in tables:
        yield {"first": [a, m], "second": [b, n], "p": stats.fisher_exact([[a, m - a], [b, n - b]]).pvalue}


def mann_whitney():
    sets = [
        # The worked example of SciPy's own documentation of mannwhitneyu: ages at diagnosis of diabetes.
        ([20, 11, 17, 12], [19, 22, 16, 29, 24]),
        (rounded(random.normal(10, 1, 5), 3), rounded(random.normal(11, 1, 5), 3)),
        (rounded(random.normal(10, 1, 20), 4), rounded(random.normal(10.5, 3, 17), 4)),
        (rounded(random.normal(10, 1, 40), 4), rounded(random.normal(10.2, 1, 25), 4)),
        # Ties, within and between the sets.
        ([1, 2, 2, 3, 3, 3, 4], [2, 3, 4, 4, 5, 5]),
        (rounded(random.poisson(4, 30), 0), rounded(random.poisson(5, 35), 0)),
    ]
    for baseline, candidate in sets:
        ties = len(set(baseline + candidate)) < len(baseline + candidate)
        exact = not ties and max(len(baseline), len(candidate)) <= 20
        test = stats.mannwhitneyu(candidate, baseline, method="exact" if exact else "asymptotic")
        shift = np.median(np.subtract.outer(candidate, baseline))
        yield {"baseline": baseline, "candidate": candidate, "exact": exact, "u": test.statistic, "p": test.pvalue, "shift": shift}


def summaries():
    for numbers in [[3.5], rounded(random.normal(100, 15, 5), 2), rounded(random.lognormal(2, 1, 12), 3), rounded(random.lognormal(2, 1, 101), 3)]:
        lower, median, upper = np.quantile(numbers, [0.25, 0.5, 0.75])
        yield {"numbers": numbers, "lower": lower, "median": median, "upper": upper, "deviation": stats.median_abs_deviation(numbers)}


def median_intervals():
    for count in [6, 7, 8, 11, 20, 33, 100]:
        numbers = rounded(random.lognormal(3, 1, count), 3)
        for confidence in [0.9, 0.95]:
            interval = stats.quantile_test(numbers, q=0, p=0.5).confidence_interval(confidence)
            yield {"numbers": numbers, "confidence": confidence, "low": interval.low, "high": interval.high}


def throughput(machines, law, sigma, kappa):
    return law * machines / (1 + sigma * (machines - 1) + kappa * machines * (machines - 1))


def laws():
    machines = np.repeat([1.0, 2, 4, 8, 16], 3)
    for truth in [(500, 0.05, 0.01), (20, 0.3, 0.002), (1e5, 0.01, 0.03), (7, 0.15, 0.0)]:
        measured = throughput(machines, *truth) * random.normal(1, 0.03, machines.size)
        measured = np.array(rounded(measured, 4))
        # Parameters of the same size, so that the optimiser's tolerances mean the same for each.
        scale = np.array([truth[0], 0.1, 0.01])
        deviation = lambda x: (throughput(machines, *(x * scale)) - measured) / truth[0]
        found = optimize.least_squares(deviation, [1, 0.5, 0.5], bounds=(0, np.inf), xtol=1e-15, ftol=1e-15, gtol=1e-15, max_nfev=10_000)
        lam, sigma, kappa = found.x * scale
        yield {"points": [[n, x] for n, x in zip(machines.tolist(), measured.tolist())], "lambda": lam, "sigma": sigma, "kappa": kappa}


def histogram():
    """Nearest-rank percentiles (type 1) of latencies in nanoseconds, which a histogram may exceed by 0.1 %."""
    nanos = np.rint(random.lognormal(np.log(2e6), 1.2, 3000)).astype(int)
    shown = {str(p): int(np.quantile(nanos, p / 1e6, method="inverted_cdf")) for p in [500_000, 950_000, 990_000, 999_000, 1_000_000]}
    return {"nanos": nanos.tolist(), "percentiles": shown, "mean": float(nanos.mean())}


reference = {
    "scipy": scipy.__version__,
    "numpy": np.__version__,
    "wilson": list(proportions()),
    "fisher": list(fisher()),
    "mann_whitney": list(mann_whitney()),
    "summaries": list(summaries()),
    "median_intervals": list(median_intervals()),
    "laws": list(laws()),
    "histogram": histogram(),
    "t": [{"alpha": a, "freedom": f, "t": stats.t.ppf(1 - a / 2, f)} for a in [0.2, 0.05, 0.01, 1e-4] for f in [1, 2.5, 4, 7.3, 30, 1000]],
    "normal": [{"p": p, "z": stats.norm.ppf(p)} for p in [1e-12, 1e-4, 0.025, 0.3, 0.5, 0.9, 0.975, 0.9999]],
}
lines = (f"{json.dumps(key)}: {json.dumps(value)}" for key, value in reference.items())
pathlib.Path(__file__).with_name("reference.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")
