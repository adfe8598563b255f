"""The benchmark of scoring runs and both of its ways give the same values; what they take is for a benchmark to say."""

from bench.perf import compare, report


def test_both_ways_score_alike() -> None:
    result = compare(1, 17, 32, 48)
    for row in result["metrics"].values():
        assert row["largest_difference"] < 1e-5 and row["ours_s"] > 0 and row["plain_s"] > 0
    assert set(result["peak_bytes_by_frames"]) == {17, 34} and result["pair_bytes"] == 2 * 17 * 32 * 48 * 3
    text = report(result)
    assert "1 videos of 17 x 32 x 48" in text and "| psnr+ssim+flicker+cosine |" in text and "Peak memory" in text
