// SPDX-License-Identifier: Apache-2.0

package api

// Level says what becomes of a field.
type Level string

const (
	// Supported fields do what Kubernetes documents.
	Supported Level = "supported"
	// NoEffect fields are accepted in silence: on a node without a cluster they have
	// nothing to act on, or any value means the same.
	NoEffect Level = "no effect"
	// Warned fields are accepted, and the user is told that they have no effect.
	Warned Level = "warned about"
	// Refused fields keep the Pod from being taken.
	Refused Level = "refused"
)

// rule classifies one field with everything below it.
type rule struct {
	// path from the Pod; [] stands for any index. A path below spec.containers[]
	// holds for spec.initContainers[] and spec.ephemeralContainers[] too unless those have a
	// rule of their own.
	path  string
	level Level
	note  string
	// accept lists values to which the level does not apply: they are supported.
	accept []string
}

// nodeNameValue in rule.accept stands for the name of this node.
const nodeNameValue = "<this node's name>"

const (
	noScheduler = "there is one node and no scheduler"
	mustMatch   = "Pods over the API wait until the node matches; from manifests, or with a nodeName, they fail with NodeAffinity"
	noClaims    = "dynamic resource allocation needs a cluster"
	noSigner    = "no signer of certificates runs on this node; use a Secret or a ConfigMap"
	noVolume    = "this volume type is not offered yet; use emptyDir or hostPath"
	gone        = "removed from Kubernetes"
	noWindows   = "this node runs Linux containers only"
	noResource  = "this node has no such resource"
	serverSets  = "set by the node"
)

// fields classifies every field of a Pod. To make a field supported, change its
// level here; the tests prove that the table is complete and has no dead entry,
// and print it to docs/fields.md.
var fields = []rule{
	{path: "apiVersion", level: Supported},
	{path: "kind", level: Supported},
	{path: "metadata.name", level: Supported},
	{path: "metadata.generateName", level: Supported, note: "over the API only"},
	{path: "metadata.namespace", level: Supported, note: "any name; namespaces need not be made first"},
	{path: "metadata.labels", level: Supported},
	{path: "metadata.annotations", level: Supported},
	{path: "metadata.finalizers", level: Supported, note: "the Pod stays in the API until they are gone"},
	{path: "metadata.ownerReferences", level: Supported, note: "the Pod goes with its last owner; owners of kinds that this node does not have are taken to exist"},
	{path: "metadata.selfLink", level: NoEffect, note: serverSets},
	{path: "metadata.uid", level: NoEffect, note: serverSets},
	{path: "metadata.resourceVersion", level: NoEffect, note: serverSets},
	{path: "metadata.generation", level: NoEffect, note: serverSets},
	{path: "metadata.creationTimestamp", level: NoEffect, note: serverSets},
	{path: "metadata.deletionTimestamp", level: NoEffect, note: serverSets},
	{path: "metadata.deletionGracePeriodSeconds", level: NoEffect, note: serverSets},
	{path: "metadata.managedFields", level: NoEffect, note: serverSets},
	{path: "status", level: NoEffect, note: serverSets},

	{path: "spec.restartPolicy", level: Supported},
	{path: "spec.terminationGracePeriodSeconds", level: Supported},
	{path: "spec.activeDeadlineSeconds", level: Supported},
	{path: "spec.dnsPolicy", level: Supported, note: "without a cluster DNS, ClusterFirst means Default"},
	{path: "spec.dnsConfig", level: Supported},
	{path: "spec.nodeSelector", level: Supported, note: mustMatch},
	{path: "spec.serviceAccountName", level: Supported},
	{path: "spec.serviceAccount", level: NoEffect, note: "deprecated name of serviceAccountName"},
	{path: "spec.automountServiceAccountToken", level: Supported, note: "left out, it counts as false, with listenPods as true; not for Pods from manifests"},
	{path: "spec.nodeName", level: Refused, accept: []string{nodeNameValue}, note: "the Pod is meant for another node"},
	{path: "spec.hostNetwork", level: Supported},
	{path: "spec.hostPID", level: Supported},
	{path: "spec.hostIPC", level: Supported},
	{path: "spec.shareProcessNamespace", level: Supported},
	{path: "spec.imagePullSecrets", level: Supported},
	{path: "spec.hostname", level: Supported},
	{path: "spec.subdomain", level: Supported},
	{path: "spec.setHostnameAsFQDN", level: Supported},
	{path: "spec.hostnameOverride", level: Supported},
	{path: "spec.hostAliases", level: Supported},
	{path: "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution", level: Supported, note: mustMatch},
	{path: "spec.affinity.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution", level: NoEffect, note: "there is one node"},
	{path: "spec.affinity.podAffinity", level: Warned, note: noScheduler},
	{path: "spec.affinity.podAntiAffinity", level: Warned, note: noScheduler},
	{path: "spec.schedulerName", level: Warned, accept: []string{"default-scheduler"}, note: noScheduler},
	{path: "spec.tolerations", level: Supported, note: "for new Pods over the API; running Pods are not evicted by taints"},
	{path: "spec.topologySpreadConstraints", level: Warned, note: noScheduler},
	{path: "spec.schedulingGates", level: Refused, note: "only Pods over the API wait until their gates are lifted"},
	{path: "spec.schedulingGroup", level: Warned, note: noScheduler},
	{path: "spec.priorityClassName", level: Supported, note: "must name a PriorityClass; in manifests, spec.priority counts more"},
	{path: "spec.priority", level: Supported},
	{path: "spec.preemptionPolicy", level: NoEffect, note: noScheduler},
	{path: "spec.readinessGates", level: Supported, note: "over the API only: somebody has to set the conditions, through pods/status"},
	{path: "spec.runtimeClassName", level: Supported, note: "must name a RuntimeClass; the handler that this node has is runc"},
	{path: "spec.enableServiceLinks", level: NoEffect, note: "there are no Services"},
	{path: "spec.overhead[cpu]", level: Supported},
	{path: "spec.overhead[memory]", level: Supported},
	{path: "spec.overhead[hugepages-*]", level: Supported},
	{path: "spec.overhead[ephemeral-storage]", level: Supported},
	{path: "spec.overhead[*]", level: Refused, note: noResource},
	{path: "spec.os.name", level: Refused, accept: []string{"linux"}, note: noWindows},
	{path: "spec.hostUsers", level: Supported, note: "false: the Pod has users of its own; its volumes' file systems must support idmap mounts"},
	{path: "spec.resourceClaims", level: Refused, note: noClaims},
	{path: "spec.ephemeralContainers[].targetContainerName", level: Supported, note: "ephemeral containers are added to a running Pod: kubectl debug"},
	{path: "spec.resources.limits[cpu]", level: Supported},
	{path: "spec.resources.limits[memory]", level: Supported},
	{path: "spec.resources.limits[hugepages-*]", level: Supported},
	{path: "spec.resources.limits[ephemeral-storage]", level: Refused, note: "Kubernetes has it for containers only"},
	{path: "spec.resources.limits[*]", level: Refused, note: noResource},
	{path: "spec.resources.requests[cpu]", level: Supported},
	{path: "spec.resources.requests[memory]", level: Supported},
	{path: "spec.resources.requests[hugepages-*]", level: Supported},
	{path: "spec.resources.requests[ephemeral-storage]", level: Refused, note: "Kubernetes has it for containers only"},
	{path: "spec.resources.requests[*]", level: Refused, note: noResource},
	{path: "spec.resources.claims", level: Refused, note: noClaims},

	{path: "spec.securityContext.runAsUser", level: Supported},
	{path: "spec.securityContext.runAsGroup", level: Supported},
	{path: "spec.securityContext.runAsNonRoot", level: Supported},
	{path: "spec.securityContext.supplementalGroups", level: Supported},
	{path: "spec.securityContext.supplementalGroupsPolicy", level: Supported},
	{path: "spec.securityContext.fsGroup", level: Supported, note: "owns emptyDir volumes; hostPath volumes are left as they are, as in Kubernetes"},
	{path: "spec.securityContext.fsGroupChangePolicy", level: NoEffect, note: "acts with fsGroup only"},
	{path: "spec.securityContext.sysctls", level: Supported, note: "the safe ones and those that allowedUnsafeSysctls names; others fail the Pod with the reason SysctlForbidden"},
	{path: "spec.securityContext.seccompProfile", level: Supported, note: "profiles of type Localhost lie below seccomp/ in the data directory"},
	{path: "spec.securityContext.appArmorProfile", level: Supported, note: "on a node without AppArmor such a Pod fails with the reason AppArmor"},
	{path: "spec.securityContext.seLinuxOptions", level: Warned, note: "no SELinux label is applied"},
	{path: "spec.securityContext.seLinuxChangePolicy", level: NoEffect, note: "no SELinux label is applied"},
	{path: "spec.securityContext.windowsOptions", level: Refused, note: noWindows},

	{path: "spec.containers[].name", level: Supported},
	{path: "spec.containers[].image", level: Supported},
	{path: "spec.containers[].command", level: Supported},
	{path: "spec.containers[].args", level: Supported},
	{path: "spec.containers[].workingDir", level: Supported},
	{path: "spec.containers[].ports[].name", level: Supported},
	{path: "spec.containers[].ports[].containerPort", level: Supported},
	{path: "spec.containers[].ports[].protocol", level: Supported},
	{path: "spec.containers[].ports[].hostPort", level: Supported},
	{path: "spec.containers[].ports[].hostIP", level: Supported},
	{path: "spec.containers[].envFrom", level: Supported},
	{path: "spec.containers[].env[].name", level: Supported},
	{path: "spec.containers[].env[].value", level: Supported},
	{path: "spec.containers[].env[].valueFrom.fieldRef", level: Supported},
	{path: "spec.containers[].env[].valueFrom.resourceFieldRef", level: Supported},
	{path: "spec.containers[].env[].valueFrom.configMapKeyRef", level: Supported},
	{path: "spec.containers[].env[].valueFrom.secretKeyRef", level: Supported},
	{path: "spec.containers[].env[].valueFrom.fileKeyRef", level: Supported},
	{path: "spec.containers[].resources.limits[cpu]", level: Supported},
	{path: "spec.containers[].resources.limits[memory]", level: Supported},
	{path: "spec.containers[].resources.limits[hugepages-*]", level: Supported},
	{path: "spec.containers[].resources.limits[ephemeral-storage]", level: Supported},
	{path: "spec.containers[].resources.limits[*]", level: Refused, note: noResource},
	{path: "spec.containers[].resources.requests[cpu]", level: Supported},
	{path: "spec.containers[].resources.requests[memory]", level: Supported},
	{path: "spec.containers[].resources.requests[hugepages-*]", level: Supported},
	{path: "spec.containers[].resources.requests[ephemeral-storage]", level: Supported},
	{path: "spec.containers[].resources.requests[*]", level: Refused, note: noResource},
	{path: "spec.containers[].resources.claims", level: Refused, note: noClaims},
	{path: "spec.containers[].resizePolicy", level: Supported},
	{path: "spec.containers[].restartPolicy", level: Supported},
	{path: "spec.initContainers[].restartPolicy", level: Supported, note: "Always makes a sidecar"},
	{path: "spec.containers[].restartPolicyRules", level: Supported},
	{path: "spec.containers[].volumeMounts[].name", level: Supported},
	{path: "spec.containers[].volumeMounts[].mountPath", level: Supported},
	{path: "spec.containers[].volumeMounts[].readOnly", level: Supported},
	{path: "spec.containers[].volumeMounts[].recursiveReadOnly", level: Supported},
	{path: "spec.containers[].volumeMounts[].mountPropagation", level: Supported},
	{path: "spec.containers[].volumeMounts[].subPath", level: Supported},
	{path: "spec.containers[].volumeMounts[].subPathExpr", level: Supported},
	{path: "spec.containers[].volumeDevices", level: Supported, note: "of PersistentVolumes of the type local"},
	{path: "spec.containers[].livenessProbe", level: Supported},
	{path: "spec.containers[].readinessProbe", level: Supported},
	{path: "spec.containers[].startupProbe", level: Supported},
	{path: "spec.containers[].lifecycle.postStart", level: Supported, note: "tcpSocket always fails, as in Kubernetes"},
	{path: "spec.containers[].lifecycle.preStop", level: Supported, note: "tcpSocket always fails, as in Kubernetes"},
	{path: "spec.containers[].lifecycle.stopSignal", level: Supported},
	{path: "spec.containers[].terminationMessagePath", level: Supported},
	{path: "spec.containers[].terminationMessagePolicy", level: Supported},
	{path: "spec.containers[].imagePullPolicy", level: Supported},
	{path: "spec.containers[].stdin", level: Supported},
	{path: "spec.containers[].stdinOnce", level: Supported},
	{path: "spec.containers[].tty", level: Supported},
	{path: "spec.containers[].securityContext.capabilities", level: Supported},
	{path: "spec.containers[].securityContext.privileged", level: Supported},
	{path: "spec.containers[].securityContext.runAsUser", level: Supported},
	{path: "spec.containers[].securityContext.runAsGroup", level: Supported},
	{path: "spec.containers[].securityContext.runAsNonRoot", level: Supported},
	{path: "spec.containers[].securityContext.readOnlyRootFilesystem", level: Supported},
	{path: "spec.containers[].securityContext.allowPrivilegeEscalation", level: Supported},
	{path: "spec.containers[].securityContext.procMount", level: Supported, note: "Unmasked needs hostUsers: false, as in Kubernetes"},
	{path: "spec.containers[].securityContext.seccompProfile", level: Supported, note: "profiles of type Localhost lie below seccomp/ in the data directory"},
	{path: "spec.containers[].securityContext.appArmorProfile", level: Supported, note: "on a node without AppArmor such a Pod fails with the reason AppArmor"},
	{path: "spec.containers[].securityContext.seLinuxOptions", level: Warned, note: "no SELinux label is applied"},
	{path: "spec.containers[].securityContext.windowsOptions", level: Refused, note: noWindows},

	{path: "spec.volumes[].name", level: Supported},
	{path: "spec.volumes[].emptyDir.medium", level: Refused, accept: []string{"Memory", "HugePages", "HugePages-2Mi", "HugePages-1Gi"}, note: "no such medium"},
	{path: "spec.volumes[].emptyDir.sizeLimit", level: Supported},
	{path: "spec.volumes[].hostPath", level: Supported},
	{path: "spec.volumes[].configMap", level: Supported},
	{path: "spec.volumes[].secret", level: Supported},
	{path: "spec.volumes[].downwardAPI", level: Supported},
	{path: "spec.volumes[].projected.defaultMode", level: Supported},
	{path: "spec.volumes[].projected.sources[].configMap", level: Supported},
	{path: "spec.volumes[].projected.sources[].secret", level: Supported},
	{path: "spec.volumes[].projected.sources[].downwardAPI", level: Supported},
	{path: "spec.volumes[].projected.sources[].serviceAccountToken", level: Supported},
	{path: "spec.volumes[].projected.sources[].clusterTrustBundle", level: Supported},
	{path: "spec.volumes[].projected.sources[].podCertificate", level: Refused, note: noSigner},
	{path: "spec.volumes[].image", level: Supported, note: "images, and OCI artifacts: each layer is a file, named by its title"},
	{path: "spec.volumes[].persistentVolumeClaim", level: Supported, note: "PersistentVolumes of the types hostPath, local and nfs, block devices of the second; the class local-path makes directories"},
	{path: "spec.volumes[].ephemeral", level: Supported},
	{path: "spec.volumes[].csi", level: Refused, note: "no CSI driver can run here; use another type of volume, or have the host mount it and use hostPath"},
	{path: "spec.volumes[].nfs", level: Supported, note: "where the kernel has a client; NFSv4, other versions by mountOptions of a PersistentVolume"},
	{path: "spec.volumes[].iscsi", level: Refused, note: noVolume},
	{path: "spec.volumes[].fc", level: Refused, note: noVolume},
	{path: "spec.volumes[].flexVolume", level: Refused, note: noVolume},
	{path: "spec.volumes[].gcePersistentDisk", level: Refused, note: gone},
	{path: "spec.volumes[].awsElasticBlockStore", level: Refused, note: gone},
	{path: "spec.volumes[].gitRepo", level: Refused, note: gone},
	{path: "spec.volumes[].glusterfs", level: Refused, note: gone},
	{path: "spec.volumes[].rbd", level: Refused, note: gone},
	{path: "spec.volumes[].cinder", level: Refused, note: gone},
	{path: "spec.volumes[].cephfs", level: Refused, note: gone},
	{path: "spec.volumes[].flocker", level: Refused, note: gone},
	{path: "spec.volumes[].azureFile", level: Refused, note: gone},
	{path: "spec.volumes[].azureDisk", level: Refused, note: gone},
	{path: "spec.volumes[].vsphereVolume", level: Refused, note: gone},
	{path: "spec.volumes[].quobyte", level: Refused, note: gone},
	{path: "spec.volumes[].photonPersistentDisk", level: Refused, note: gone},
	{path: "spec.volumes[].portworxVolume", level: Refused, note: gone},
	{path: "spec.volumes[].scaleIO", level: Refused, note: gone},
	{path: "spec.volumes[].storageos", level: Refused, note: gone},
}
