r"""Ridge regressions of a family: all folds, targets and penalties.

The systems
-----------
Fold k trains on n_k of n rows, with weights W_k. Z_k contains the family's p columns of
these rows, centred and scaled by their weighted mean and standard deviation, which
differ between folds. For a target t with weighted mean m, and
λ = alpha · (number of varying columns), `RidgeSystems`,

    A_k = Z_kᵀ W_k Z_k        b = Z_kᵀ W_k (t - m)        (A_k + λI) x = b.

The Krylov method (`KrylovSolver`, for wide families in memory)
---------------------------------------------------------------
1.  Q is an orthonormal basis of d directions per fold, `GalerkinBasis`. It grows by
    blocks: the residuals of the right-hand sides B, orthogonalised against Q by two
    rounds of Gram-Schmidt and Cholesky QR. B consists of the targets' b, and of random
    vectors up to width 4.
2.  One pass over the rows computes A_k times the new block for all folds, in float32,
    `FoldProduct`. A row held out by fold j is multiplied for all k ≠ j. Centring is a
    rank-one correction and scaling a diagonal; neither modifies the rows.
3.  H = Qᵀ A_k Q (d x d) and Qᵀ B are kept in float64. The Galerkin solution in the
    span of Q is

        x(λ) = Q (H + λI)⁻¹ Qᵀ b,        r = b - (A_k Q + λQ) (H + λI)⁻¹ Qᵀ b.

    A_k + λI has the Krylov spaces of A_k, so one basis works for every λ [2]_: to
    compare penalties, it grows until ‖r‖ ≤ 3e-5 ‖b‖ at the smallest one.
4.  Iterative refinement [3]_: r = b - (A_k + λI) x is computed in float64 from the
    rows, `RidgeSystems.residual`; the basis grows until it solves for r to 3e-5 ‖r‖;
    the solution is added to x. This is repeated until

        ‖r‖ / (√λ s √w) ≤ 1e-10,

    with s the standard deviation of t and w the sum of weights. As A_k + λI ≥ λI and
    A_k + λI ≥ A_k, the error e = (A_k + λI)⁻¹ r satisfies ‖W_k^½ Z_k e‖ ≤ ‖r‖ / √λ: the
    criterion bounds the root mean square error of predictions, in units of s.

The plain method (`solve_ridge`)
--------------------------------
A_k + λI in float64, and its Cholesky factor [1]_; if n_k < p, the n_k x n_k matrix
K = W^½ Z Zᵀ W^½ instead, with x = Zᵀ W^½ (K + λI)⁻¹ W^½ (t - m).

Selection of the method
-----------------------
Krylov needs 30 to 50 passes for any p. The plain method needs the work of p passes, and
a factorisation of p³/3 for each fold and penalty. The plain method is used

- for narrow families;
- for alphas below 0.5 (0.1 if several are compared), with more eigenvalues above λ
  than a basis of 384 directions resolves;
- for tables over 1 GiB in float32, which each pass would read again;
- for splits that hold out a row more than once, which share no products;
- if the basis converges too slowly (`NotConvergedError`): after 16 blocks with
  ‖r‖ > 0.2 ‖b‖, at 96 blocks, or if a refinement step leaves more than a hundredth of
  the error.

Streamed tables of up to 256 MB are read once into memory; larger ones use the plain
method.

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
