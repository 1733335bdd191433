"""Market-1501 (Zheng et al. 2015), and any folder laid out like it."""

from reid.adapters.datasets.files import FolderPerSplit


class Market1501(FolderPerSplit):
    """The three lists of a folder in Market-1501's layout.

    pid 0 marks distractors in the gallery. The data set has none in the training and query lists;
    those of another one are kept as one person, as in CLIP-ReID, and the dataset check reports
    them.

    Published (Zheng et al. 2015): 751 identities in 12,936 training images; 750 in 3,368 queries;
    19,732 gallery files, of which 15,913 remain without junk, distractors included; 6 cameras.
    """

    title = "Market-1501"
    known_roots = ("Market-1501-v15.09.15", "Market-1501", "Market1501", "market1501", "Market")
    expected = "named like 0002_c1s1_000451_03.jpg"
