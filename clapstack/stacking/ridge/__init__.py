r"""Ridge regressions of a family: all folds, targets and penalties.

The systems
-----------
Fold k trains on n_k of n rows, with weights W_k. Z_k is the family's p columns there,
centred and scaled by their weighted mean and standard deviation over these rows, so
every fold has columns of its own. For a target t with weighted mean m, and
λ = alpha · (number of columns that vary), `RidgeSystems`,

    A_k = Z_kᵀ W_k Z_k        b = Z_kᵀ W_k (t - m)        (A_k + λI) x = b.

The Krylov way (`KrylovSolver`, for wide families in memory)
------------------------------------------------------------
1.  Q is an orthonormal basis of d directions per fold, `GalerkinBasis`. It grows by
    blocks: the residuals of the right-hand sides B, made orthogonal to Q by
    Gram-Schmidt twice and Cholesky QR. B has the targets' b and random vectors up to
    width 4.
2.  A pass over the rows yields A_k times the new block for all folds at once, in
    float32, `FoldProduct`. A row that fold j holds out is multiplied for all k ≠ j.
    Centring is a correction of rank one, scaling a diagonal; neither touches the rows.
3.  H = Qᵀ A_k Q (d x d) and Qᵀ B are kept in float64. The Galerkin solution in the
    space of Q is

        x(λ) = Q (H + λI)⁻¹ Qᵀ b,        r = b - (A_k Q + λQ) (H + λI)⁻¹ Qᵀ b.

    A_k + λI has the Krylov spaces of A_k, so one basis serves every λ [2]_: to choose
    among penalties, it grows until ‖r‖ ≤ 3e-5 ‖b‖ at the smallest.
4.  Iterative refinement [3]_: r = b - (A_k + λI) x is formed in float64 from the rows,
    `RidgeSystems.residual`; the basis grows until it solves for r to 3e-5 ‖r‖; x takes
    the correction. It ends when

        ‖r‖ / (√λ s √w) ≤ 1e-10,

    with s the standard deviation of t and w the sum of weights. As A_k + λI ≥ λI and
    A_k + λI ≥ A_k, the error e = (A_k + λI)⁻¹ r has ‖W_k^½ Z_k e‖ ≤ ‖r‖ / √λ: the
    bound is on predictions, root mean square, in units of s.

The plain way (`solve_ridge`)
-----------------------------
A_k + λI in float64, and its Cholesky factor [1]_; where n_k < p, the n_k x n_k matrix
K = W^½ Z Zᵀ W^½ instead, for x = Zᵀ W^½ (K + λI)⁻¹ W^½ (t - m).

Which way
---------
Krylov takes 30 to 50 passes whatever p is, the plain way p passes' worth of work and a
factor of p³/3 for each fold and penalty. The plain way is taken for narrow families;
for alphas below 0.5 (0.1 where several are compared), which leave more eigenvalues
above λ than a basis of 384 directions resolves; for tables over 1 GiB in float32, and
streamed ones over 256 MB, since each pass would read them again; and for splits that
hold a row out more than once, which share no products. It is also taken where the basis
stops gaining: after 16 blocks with ‖r‖ > 0.2 ‖b‖, at 96 blocks, or when a step of
refinement leaves more than a hundredth of the error (`NotConvergedError`).

References
----------
.. [1] G. H. Golub and C. F. Van Loan, "Matrix Computations", 4th edition, Johns Hopkins
   University Press, 2013: chapters 4.2 (Cholesky) and 10.1-10.3 (Lanczos, Krylov).
.. [2] A. Frommer and P. Maass, "Fast CG-based methods for Tikhonov-Phillips
   regularization", SIAM Journal on Scientific Computing 20(5), 1999,
   doi:10.1137/S1064827596313310.
.. [3] N. J. Higham, "Accuracy and Stability of Numerical Algorithms", 2nd edition,
   SIAM, 2002, chapter 12, doi:10.1137/1.9780898718027.
"""

from clapstack.stacking.ridge._estimator import StandardizedRidge
from clapstack.stacking.ridge._fit import check_alphas, fit_family_ridges
from clapstack.stacking.ridge._fold_product import HELD_BYTES, FoldProduct
from clapstack.stacking.ridge._fold_sums import (
    FoldWeights,
    columns_of_folds,
    hold_out_once,
)
from clapstack.stacking.ridge._krylov import NotConvergedError

__all__ = [
    "HELD_BYTES",
    "FoldProduct",
    "FoldWeights",
    "NotConvergedError",
    "StandardizedRidge",
    "check_alphas",
    "columns_of_folds",
    "fit_family_ridges",
    "hold_out_once",
]
