"""Better, tie or not settled: what the arms of a comparison allow to be said, and which model to hand over.

A pure function of what the arms scored and cost; it trains nothing and reads no file, so a finished comparison can be
judged again with another margin. The rules:

- Arms are ranked by their selection score; equal scores by what must be stored for them, then by name, so that the same
  scores always give the same model. Floors, dropped and failed arms are never handed over.
- The best is compared with every other arm, by intervals that hold for all pairs of arms at once (level 1 - alpha / m
  with m = k (k - 1) / 2: Bonferroni, and therefore Holm), because the best was picked from the same scores.
- *better*: the interval of best minus rival lies above 0 for every rival. *tie*: every rival not worse lies inside
  ± margin; the cheapest of the tied is handed over. *not settled*: anything else; the best is handed over, and the
  cheapest arm that is not shown to be worse is named with the score it risks.
- A starved arm (too few steps, or its best rate at the edge of its range) cannot lose a verdict: over a starved rival
  nothing is settled, and a starved best never loses a tie to a cheaper arm.
- One run shows no training noise, so nothing is settled with one. An arm of which some runs failed can only lose.
- A floor is shown to be worse when the interval of best minus floor lies above 0, among all floors at once. A floor
  that was run once counts as without training noise.

Source: Hsu 1981, Simultaneous confidence intervals for all distances from the "best", Annals of Statistics 9(5), for
comparing with the best; Schuirmann 1987, Journal of Pharmacokinetics and Biopharmaceutics 15(6), for tie as an interval
inside a margin rather than as an absence of evidence.
"""

from unfreeze.recommend.judge import recommend
from unfreeze.recommend.verdict import Arm, Cheapest, Comparison, Recommendation, RestsOn, as_dict

__all__ = ["Arm", "Cheapest", "Comparison", "Recommendation", "RestsOn", "as_dict", "recommend"]
