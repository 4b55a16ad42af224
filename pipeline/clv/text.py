"""The answer of `strata clv` as text."""

from pipeline.clv.analysis import Analysis
from pipeline.clv.backtest import MODEL, RIVALS, Backtest, Verdict
from pipeline.clv.churn import Churn

_NAMES = {
    MODEL: "model",
    "last_period": "last period",
    "mean_of_all": "mean of all",
    "formula": "formula M-09",
}


def told(found: Analysis) -> str:
    """The whole answer."""
    file, counted = found.file, found.counted
    skipped = ", ".join(f"{name} {n:,}" for name, n in file["skipped"].items()) or "none"
    lines = [
        f"{file['file']}: {file['rows']:,} rows, {file['orders']:,} orders from {file['first_day']} to {file['last_day']}; left out: {skipped}",
        f"{counted.purchase_days:,} purchase days of {counted.buyers:,} buyers; {int((found.seen.x > 0).sum()):,} bought on more than one day",
        f"refunds {counted.refunds:,} · taken back the same day {counted.cancelled_same_day:,} · amount zero {counted.zero_amounts:,} · customers without a purchase {counted.without_purchase:,}",
    ]
    purchases, spend = found.models.purchases, found.models.spend
    if purchases:
        lines.append(
            f"{found.kind}: r {purchases.r:.4f} · alpha {purchases.alpha:.4f} · a {purchases.a:.4f} · b {purchases.b:.4f}"
            f" (weeks; log-likelihood {purchases.log_likelihood:.2f})"
        )
        expected = found.models.expected_purchases(found.seen, found.horizon)
        assert expected is not None
        lines.append(f"expected in {found.horizon} days: {expected.sum():,.1f} purchases")
    if spend:
        lines.append(
            f"gamma-gamma: p {spend.p:.4f} · q {spend.q:.4f} · v {spend.v:.4f} (mean purchase {spend.population_mean:.2f})"
        )
    if found.tested:
        lines += _backtest(found.tested)
    if found.lost:
        lines += _churn(found.lost)
    lines += [f"warning: {warning}" for warning in found.warnings]
    if found.value is None:
        lines.append(f"clv: null for every customer: {found.why['clv']}")
    else:
        lines.append(
            f"clv: {found.value.sum():,.2f} in {found.horizon} days, discounted at {found.discount_rate:.0%} a year"
        )
    if found.out:
        lines.append(f"wrote {found.out} ({len(found.seen):,} customers)")
    return "\n".join(lines)


def _backtest(tested: Backtest) -> list[str]:
    lines = ["", f"back-test, {tested.ahead} days ahead (error: root mean square per customer)"]
    for measure, verdict in tested.verdicts.items():
        if tested.origins:
            lines.append(
                f"  {measure:<10}{'origin':<12}{'buyers':>8}  "
                f"{'method':<13}{'forecast':>14}{'came':>14}{'bias':>8}{'error':>12}{'top 10 %':>10}"
            )
        for origin in tested.origins:
            for method in (MODEL, *RIVALS):
                score = origin.scores[measure].get(method)
                if score is None:
                    continue
                bias = "–" if score.bias is None else f"{score.bias:+.1%}"
                top = "–" if score.top_tenth is None else f"{score.top_tenth:.1%}"
                lines.append(
                    f"  {'':<10}{origin.origin.isoformat():<12}{origin.customers:>8,}  {_NAMES[method]:<13}"
                    f"{score.predicted:>14,.1f}{score.actual:>14,.1f}{bias:>8}{score.rmse:>12.4f}{top:>10}"
                )
        lines.append(f"  {measure}: {_verdict(verdict)}")
    return [*lines, ""]


def _verdict(verdict: Verdict) -> str:
    if verdict.winner is None:
        return verdict.reason
    return f"{_NAMES[verdict.winner]} wins; {verdict.reason}"


def _churn(lost: Churn) -> list[str]:
    lines = ["when is a customer lost? share of people who came back, by what the limit called them"]
    for m in lost.measured:
        for rule, split in m.splits.items():
            phi = "–" if split.phi is None else f"{split.phi:.3f}"
            lines.append(
                f"  {m.origin} next {m.window:>3} days · {rule:<8} active {_rate(split.active_back, split.active)} · "
                f"lost {_rate(split.lost_back, split.lost)} · phi {phi}"
            )
        stages = " · ".join(f"{name} {_rate(back, people)}" for name, (people, back) in m.stages.items())
        lines.append(f"  {m.origin} next {m.window:>3} days · stages: {stages} · monotone: {m.monotone}")
    return [*lines, f"  {lost.reason}", ""]


def _rate(back: int, people: int) -> str:
    return f"{back / people:.1%} of {people:,}" if people else "nobody"
