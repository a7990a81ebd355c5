// SPDX-License-Identifier: Apache-2.0

package claims

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

func aClaim(change func(*corev1.PersistentVolumeClaim)) *corev1.PersistentVolumeClaim {
	c := &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "c", UID: "c-uid"},
		Spec: corev1.PersistentVolumeClaimSpec{
			AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}, StorageClassName: ptr.To("k"),
			Resources: corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("2Gi")}},
		},
	}
	if change != nil {
		change(c)
	}
	return c
}

func aVolume(name, size string, change func(*corev1.PersistentVolume)) *corev1.PersistentVolume {
	pv := &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"name": name}},
		Spec: corev1.PersistentVolumeSpec{
			Capacity: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse(size)}, StorageClassName: "k",
			AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce, corev1.ReadWriteMany},
		},
		Status: corev1.PersistentVolumeStatus{Phase: corev1.VolumeAvailable},
	}
	if change != nil {
		change(pv)
	}
	return pv
}

func aClass(provisioner string, mode storagev1.VolumeBindingMode) *storagev1.StorageClass {
	return &storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: "k"}, Provisioner: provisioner, VolumeBindingMode: &mode}
}

func TestDecide(t *testing.T) {
	waits, now := storagev1.VolumeBindingWaitForFirstConsumer, storagev1.VolumeBindingImmediate
	onNode := func(host string) func(*corev1.PersistentVolume) {
		return func(pv *corev1.PersistentVolume) {
			pv.Spec.NodeAffinity = &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
				MatchExpressions: []corev1.NodeSelectorRequirement{{Key: corev1.LabelHostname, Operator: corev1.NodeSelectorOpIn, Values: []string{host}}},
			}}}}
		}
	}
	of := func(name string) func(*corev1.PersistentVolume) {
		return func(pv *corev1.PersistentVolume) {
			pv.Spec.ClaimRef = &corev1.ObjectReference{Namespace: "ns", Name: name}
		}
	}
	named := func(c *corev1.PersistentVolumeClaim) { c.Spec.VolumeName = "a" }
	block := func(c *corev1.PersistentVolumeClaim) {
		c.Spec.VolumeMode = ptr.To(corev1.PersistentVolumeBlock)
	}
	tests := map[string]struct {
		claim   func(*corev1.PersistentVolumeClaim)
		volumes []*corev1.PersistentVolume
		class   *storagev1.StorageClass
		used    bool
		want    string // the volume's name, "provision", or the event's reason
	}{
		"the smallest that is large enough": {volumes: []*corev1.PersistentVolume{aVolume("a", "9Gi", nil), aVolume("b", "3Gi", nil), aVolume("c", "1Gi", nil)}, want: "b"},
		"one that is made for it":           {volumes: []*corev1.PersistentVolume{aVolume("a", "3Gi", nil), aVolume("b", "9Gi", of("c"))}, want: "b"},
		"another one's":                     {volumes: []*corev1.PersistentVolume{aVolume("a", "3Gi", of("d"))}, want: "ProvisioningFailed"},
		"released":                          {volumes: []*corev1.PersistentVolume{aVolume("a", "3Gi", func(pv *corev1.PersistentVolume) { pv.Status.Phase = corev1.VolumeReleased })}, want: "ProvisioningFailed"},
		"of another class":                  {volumes: []*corev1.PersistentVolume{aVolume("a", "3Gi", func(pv *corev1.PersistentVolume) { pv.Spec.StorageClassName = "" })}, want: "ProvisioningFailed"},
		"with too few access modes": {claim: func(c *corev1.PersistentVolumeClaim) {
			c.Spec.AccessModes = []corev1.PersistentVolumeAccessMode{corev1.ReadOnlyMany}
		}, volumes: []*corev1.PersistentVolume{aVolume("a", "3Gi", nil)}, want: "ProvisioningFailed"},
		"on this node":    {volumes: []*corev1.PersistentVolume{aVolume("a", "3Gi", onNode("n"))}, want: "a"},
		"on another node": {volumes: []*corev1.PersistentVolume{aVolume("a", "3Gi", onNode("m"))}, want: "ProvisioningFailed"},
		"by selector": {claim: func(c *corev1.PersistentVolumeClaim) {
			c.Spec.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{"name": "b"}}
		}, volumes: []*corev1.PersistentVolume{aVolume("a", "3Gi", nil), aVolume("b", "9Gi", nil)}, want: "b"},
		"by name":                  {claim: named, volumes: []*corev1.PersistentVolume{aVolume("b", "3Gi", nil), aVolume("a", "9Gi", nil)}, want: "a"},
		"by name, too small":       {claim: named, volumes: []*corev1.PersistentVolume{aVolume("a", "1Gi", nil)}, want: "VolumeMismatch"},
		"by name, another one's":   {claim: named, volumes: []*corev1.PersistentVolume{aVolume("a", "3Gi", of("d"))}, want: "FailedBinding"},
		"by name, not there":       {claim: named, want: "FailedBinding"},
		"no consumer":              {class: aClass(Provisioner, waits), volumes: []*corev1.PersistentVolume{aVolume("a", "3Gi", nil)}, want: "WaitForFirstConsumer"},
		"no consumer, made for it": {class: aClass(Provisioner, waits), volumes: []*corev1.PersistentVolume{aVolume("a", "3Gi", of("c"))}, want: "a"},
		"a consumer":               {class: aClass(Provisioner, waits), used: true, want: "provision"},
		"a consumer, made before":  {class: aClass(Provisioner, waits), used: true, volumes: []*corev1.PersistentVolume{aVolume("a", "3Gi", nil)}, want: "a"},
		"at once":                  {class: aClass(Provisioner, now), want: "provision"},
		"somebody else's class":    {class: aClass("other", now), want: "ExternalProvisioning"},
		"made by hand only":        {class: aClass(noProvisioner, now), want: "FailedBinding"},
		"no class":                 {claim: func(c *corev1.PersistentVolumeClaim) { c.Spec.StorageClassName = ptr.To("") }, want: "FailedBinding"},
		"block":                    {claim: block, class: aClass(Provisioner, now), want: "ProvisioningFailed"},
	}
	for name, tt := range tests {
		d := decide(aClaim(tt.claim), world{volumes: tt.volumes, class: tt.class, used: tt.used, node: map[string]string{corev1.LabelHostname: "n"}})
		got := d.note.reason
		switch {
		case d.bind != nil:
			got = d.bind.Name
		case d.provision:
			got = "provision"
		}
		if got != tt.want {
			t.Errorf("%s: %s (%s), want %s", name, got, d.note.message, tt.want)
		}
	}
}
