// SPDX-License-Identifier: Apache-2.0

// Package token makes and checks the signed tokens by which ServiceAccounts prove
// who they are: JSON Web Tokens with Kubernetes' claims, as the TokenRequest API
// has them. A token may be bound to a Pod, a Secret or a Node, and is good for
// nothing once that, or the ServiceAccount, is gone.
//
// It imports the store alone. Invariants: the signing key never leaves its file
// and this package; a token is checked against the objects as they are now, each
// time.
package token
