"""How members of an ensemble differ.

In: their predicted classes. Out: in what share of the images each two of them differ. (What each gives to the ensemble
is a paired comparison of the whole with the others: `paired`.)
"""

import numpy as np
from numpy.typing import NDArray


def disagreement(predicted_MN: NDArray[np.integer]) -> NDArray[np.float64]:
    """`[M, M]`, 0 to 1: the share of images for which two members predict different classes (Fort, Hu and
    Lakshminarayanan 2019, "Deep ensembles: a loss landscape perspective"). Symmetric, 0 on the diagonal; of no images
    NaN.

    Args:
        predicted_MN: classes; -1 for no class, which differs from every class.
    """
    members, samples = predicted_MN.shape
    shares = np.full((members, members), np.nan if not samples else 0.0)
    for one in range(members):
        for other in range(one):
            if samples:
                differ = float((predicted_MN[one] != predicted_MN[other]).mean())
                shares[one, other] = shares[other, one] = differ
    return shares
