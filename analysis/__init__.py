"""From records and scores to the paper's tables and figures."""
