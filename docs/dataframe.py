# %% [markdown]
# A study as one DataFrame. Run the cells in an editor that knows `# %%`, or the whole file:
# `python docs/dataframe.py runs/table1` writes `own_plot.png` into the current folder.

# %%
import sys

import matplotlib.pyplot as plt

from analysis import Study
from analysis.statistics import interval, paired, speedup

study = Study(sys.argv[1] if len(sys.argv) > 1 else "runs/table1")
samples = study.samples  # one row per sample; the index is condition, prompt, seed
done = samples[samples["status"] == "done"]

# %% Means per condition, as pandas computes them. Infinite scores stay infinite: such a video equals its baseline. The
# mean of speed-ups is not the speed-up of the tables, which the next cell has: a ratio of mean latencies.
print(done.groupby("condition")[["latency_s", "speedup", "token_ratio", "psnr", "flicker"]].mean().round(3).to_string())

# %% The numbers of the tables: means with intervals over prompts, without infinite values, and the paper's speed-up.
for condition, rows in done[done["role"] == "method"].groupby("condition"):
    psnr, faster = interval(rows["psnr"]), speedup(rows)
    print(
        f"{condition}: PSNR {psnr.value:.2f} dB of {psnr.n} and {psnr.infinite} infinite, speed-up {faster.value:.2f}"
    )

# %% A paired difference to the baseline, over the samples that both have.
baseline = done[done["role"] == "reference"].droplevel("condition")
fastest = done.groupby("condition")["speedup"].mean().idxmax()
difference = paired(done.loc[fastest, "flicker"], baseline["flicker"])
print(f"{fastest}: flicker minus the baseline's {difference.value:+.4f} [{difference.low}, {difference.high}]")

# %% The reasons for missing scores.
print(study.missing[["metric", "reason"]].value_counts().to_string() if len(study.missing) else "no score is missing")

# %% A plot of your own.
methods = done[done["role"] == "method"]
for k, rows in methods.groupby("method.k"):
    plt.scatter(rows["token_ratio"], rows["psnr"], label=f"k = {k:g}")
plt.xlabel("share of tokens kept")
plt.ylabel("PSNR (dB)")
plt.legend()
plt.savefig("own_plot.png", dpi=120)

# %% Values per frame of one sample: metrics, the preview's similarity, and how many frames were merged into one.
print(study.curves(*methods.index[0]).head().to_string())
