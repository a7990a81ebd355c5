// SPDX-License-Identifier: Apache-2.0

// Package rbac decides by the RBAC objects of a store who may do what, as
// Kubernetes does: Roles and ClusterRoles grant, RoleBindings and
// ClusterRoleBindings say to whom; what nothing grants is denied. It also makes the
// roles that every cluster has, and sums up aggregated ones.
//
// It imports the store alone. The objects are kept decoded in memory and follow the
// store: a decision sees every write that was done before it was asked for.
package rbac
