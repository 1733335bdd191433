"""DukeMTMC-reID (Ristani et al. 2016, Zheng et al. 2017)."""

from reid.adapters.datasets.files import FolderPerSplit


class DukeMtmc(FolderPerSplit):
    """The three lists of DukeMTMC-reID, which has Market-1501's layout.

    Names such as `0001_c2_f0046182.jpg`: person 1 in the second camera, frame 46182. The gallery's
    distractors (408 identities) have pids of their own, not 0.

    Published (Zheng et al. 2017, arXiv:1701.07717): 702 identities in 16,522 training images; 702
    in 2,228 queries; 17,661 gallery images; 8 cameras.
    """

    title = "DukeMTMC-reID"
    known_roots = ("DukeMTMC-reID", "DukeMTMC", "dukemtmc-reid", "dukemtmcreid", "dukemtmc", "duke")
    expected = "named like 0001_c2_f0046182.jpg"
