"""DukeMTMC-reID (Ristani et al. 2016, Zheng et al. 2017)."""

from pathlib import Path

from reid.adapters.datasets.listed import ListedDataset
from reid.adapters.datasets.market1501 import FolderLayout

KNOWN_ROOTS = ("DukeMTMC-reID", "DukeMTMC", "dukemtmc-reid", "dukemtmcreid", "dukemtmc", "duke")
"""Names under which the data set is unpacked, in the order in which they are looked for."""


class DukeMtmc(ListedDataset):
    """The three lists of DukeMTMC-reID, which is laid out as Market-1501 is.

    Names such as `0001_c2_f0046182.jpg`: person 1 in the second camera, frame 46182. The gallery
    holds people whom nobody asks for (408 identities); they have pids of their own and not 0.

    Published (Zheng et al. 2017, arXiv:1701.07717): 702 identities in 16,522 training pictures;
    702 in 2,228 queries; 17,661 gallery pictures; 8 cameras.
    """

    def __init__(self, root: Path) -> None:
        """Remember where to look; nothing is read yet.

        Args:
            root: The folder that holds `bounding_box_train`, `query` and `bounding_box_test`, or
                its parent where the folder has one of the usual names.
        """
        layout = FolderLayout(
            title="DukeMTMC-reID", known_roots=KNOWN_ROOTS, example="0001_c2_f0046182.jpg"
        )
        super().__init__(root, layout=layout)
