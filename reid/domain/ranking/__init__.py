"""Mathematics of ranking: distances, scores, re-ranking, fusion, significance."""
