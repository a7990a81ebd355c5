// SPDX-License-Identifier: Apache-2.0

package rbac

import (
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Groups of the API.
const (
	core           = ""
	apps           = "apps"
	authentication = "authentication.k8s.io"
	authorization  = "authorization.k8s.io"
	autoscaling    = "autoscaling"
	certificates   = "certificates.k8s.io"
	batch          = "batch"
	coordination   = "coordination.k8s.io"
	discovery      = "discovery.k8s.io"
	events         = "events.k8s.io"
	metrics        = "metrics.k8s.io"
	networking     = "networking.k8s.io"
	policy         = "policy"
)

var (
	read      = []string{"get", "list", "watch"}
	write     = []string{"create", "delete", "deletecollection", "patch", "update"}
	readWrite = append(append([]string{}, read...), write...)
)

// on is a rule about resources.
func on(verbs []string, groups []string, resources ...string) rbacv1.PolicyRule {
	return rbacv1.PolicyRule{Verbs: verbs, APIGroups: groups, Resources: resources}
}

// at is a rule about paths.
func at(verb string, paths ...string) rbacv1.PolicyRule {
	return rbacv1.PolicyRule{Verbs: []string{verb}, NonResourceURLs: paths}
}

func in(groups ...string) []string { return groups }

// builtinRoles are those that Kubernetes documents for people and workloads
// (its page "Using RBAC Authorization"); those of the components of a cluster, which
// is not there, are left out.
func builtinRoles() []*rbacv1.ClusterRole {
	create := []string{"create"}
	return []*rbacv1.ClusterRole{
		role("cluster-admin", on([]string{"*"}, in("*"), "*"), at("*", "*")),
		role("system:discovery", at("get", "/livez", "/readyz", "/healthz", "/version", "/version/",
			"/openapi", "/openapi/*", "/api", "/api/*", "/apis", "/apis/*")),
		role("system:public-info-viewer", at("get", "/livez", "/readyz", "/healthz", "/version", "/version/")),
		role("system:basic-user",
			on(create, in(authorization), "selfsubjectaccessreviews", "selfsubjectrulesreviews"),
			on(create, in(authentication), "selfsubjectreviews")),
		role("system:service-account-issuer-discovery", at("get", "/.well-known/openid-configuration", "/.well-known/openid-configuration/", "/openid/v1/jwks", "/openid/v1/jwks/")),
		role("system:cluster-trust-bundle-discovery", on(read, in(certificates), "clustertrustbundles")),
		role("system:auth-delegator", on(create, in(authentication), "tokenreviews"), on(create, in(authorization), "subjectaccessreviews")),
		role("system:monitoring",
			at("get", "/metrics", "/metrics/slis", "/livez", "/readyz", "/healthz", "/livez/*", "/readyz/*", "/healthz/*"),
			on([]string{"get"}, in(core), "nodes/metrics")),
		aggregated("admin"), aggregated("edit", "admin"), aggregated("view", "edit"),
		part("admin",
			on(create, in(authorization), "localsubjectaccessreviews"),
			on(readWrite, in(rbacv1.GroupName), "roles", "rolebindings")),
		part("edit", editRules()...),
		part("view", viewRules()...),
		// The metrics server brings these with it.
		labelled(role("system:aggregated-metrics-reader", on(read, in(metrics), "pods", "nodes")), "view", "edit", "admin"),
	}
}

func viewRules() []rbacv1.PolicyRule {
	return []rbacv1.PolicyRule{
		on(read, in(core), "pods", "replicationcontrollers", "replicationcontrollers/scale", "serviceaccounts", "services", "services/status",
			"endpoints", "persistentvolumeclaims", "persistentvolumeclaims/status", "configmaps"),
		on(read, in(core), "limitranges", "resourcequotas", "bindings", "pods/status", "resourcequotas/status", "namespaces/status",
			"replicationcontrollers/status", "pods/log"),
		on(read, in(core), "namespaces"), // their own, when bound in a namespace
		on(read, in(core, events), "events"),
		on(read, in(discovery), "endpointslices"),
		on(read, in(apps), "controllerrevisions", "statefulsets", "statefulsets/status", "statefulsets/scale", "daemonsets", "daemonsets/status",
			"deployments", "deployments/status", "deployments/scale", "replicasets", "replicasets/status", "replicasets/scale"),
		on(read, in(autoscaling), "horizontalpodautoscalers", "horizontalpodautoscalers/status"),
		on(read, in(batch), "jobs", "cronjobs", "cronjobs/status", "jobs/status"),
		on(read, in(policy), "poddisruptionbudgets", "poddisruptionbudgets/status"),
		on(read, in(networking), "networkpolicies", "ingresses", "ingresses/status"),
	}
}

func editRules() []rbacv1.PolicyRule {
	create := []string{"create"}
	return []rbacv1.PolicyRule{
		on(read, in(core), "pods/attach", "pods/proxy", "pods/exec", "pods/portforward", "secrets", "services/proxy"),
		on([]string{"impersonate"}, in(core), "serviceaccounts"),
		on(write, in(core), "pods", "pods/attach", "pods/proxy", "pods/exec", "pods/portforward"),
		on(create, in(core), "pods/eviction"),
		on(write, in(core), "replicationcontrollers", "replicationcontrollers/scale", "serviceaccounts", "services", "services/proxy",
			"persistentvolumeclaims", "configmaps", "secrets"),
		on(create, in(core), "serviceaccounts/token"),
		on(write, in(core, events), "events"),
		on(write, in(apps), "statefulsets", "statefulsets/scale", "daemonsets", "deployments", "deployments/scale", "deployments/rollback",
			"replicasets", "replicasets/scale"),
		on(write, in(autoscaling), "horizontalpodautoscalers"),
		on(write, in(batch), "jobs", "cronjobs"),
		on(write, in(policy), "poddisruptionbudgets"),
		on(write, in(networking), "networkpolicies", "ingresses"),
		on(readWrite, in(coordination), "leases"),
	}
}

// builtinBindings give all that are known the means to find out what there is and
// who they are; nothing else.
func builtinBindings() []*rbacv1.ClusterRoleBinding {
	const authenticated = "system:authenticated"
	return []*rbacv1.ClusterRoleBinding{
		binding("cluster-admin", "system:masters"),
		binding("system:discovery", authenticated),
		binding("system:basic-user", authenticated),
		binding("system:public-info-viewer", authenticated, "system:unauthenticated"),
		binding("system:service-account-issuer-discovery", "system:serviceaccounts"),
		binding("system:cluster-trust-bundle-discovery", "system:serviceaccounts"),
	}
}

func builtinMeta(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Name: name, Labels: map[string]string{"kubernetes.io/bootstrapping": "rbac-defaults"},
		Annotations: map[string]string{rbacv1.AutoUpdateAnnotationKey: "true"},
	}
}

func role(name string, list ...rbacv1.PolicyRule) *rbacv1.ClusterRole {
	return &rbacv1.ClusterRole{
		TypeMeta:   metav1.TypeMeta{APIVersion: rbacv1.SchemeGroupVersion.String(), Kind: "ClusterRole"},
		ObjectMeta: builtinMeta(name), Rules: list,
	}
}

// labelled makes a role part of aggregated ones.
func labelled(r *rbacv1.ClusterRole, to ...string) *rbacv1.ClusterRole {
	for _, name := range to {
		r.Labels[aggregateTo+name] = "true"
	}
	return r
}

const aggregateTo = rbacv1.GroupName + "/aggregate-to-"

func part(of string, list ...rbacv1.PolicyRule) *rbacv1.ClusterRole {
	return labelled(role("system:aggregate-to-"+of, list...), of)
}

// aggregated is a role made of those that are labelled for it.
func aggregated(name string, to ...string) *rbacv1.ClusterRole {
	r := labelled(role(name), to...)
	r.AggregationRule = &rbacv1.AggregationRule{ClusterRoleSelectors: []metav1.LabelSelector{
		{MatchLabels: map[string]string{aggregateTo + name: "true"}},
	}}
	return r
}

func binding(name string, groups ...string) *rbacv1.ClusterRoleBinding {
	b := &rbacv1.ClusterRoleBinding{
		TypeMeta:   metav1.TypeMeta{APIVersion: rbacv1.SchemeGroupVersion.String(), Kind: "ClusterRoleBinding"},
		ObjectMeta: builtinMeta(name), RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: name},
	}
	for _, group := range groups {
		b.Subjects = append(b.Subjects, rbacv1.Subject{APIGroup: rbacv1.GroupName, Kind: rbacv1.GroupKind, Name: group})
	}
	return b
}
