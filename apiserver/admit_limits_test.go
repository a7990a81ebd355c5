// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// list reads "cpu=1 memory=2Mi".
func list(s string) corev1.ResourceList {
	out := corev1.ResourceList{}
	for word := range strings.FieldsSeq(s) {
		name, value, _ := strings.Cut(word, "=")
		out[corev1.ResourceName(name)] = resource.MustParse(value)
	}
	return out
}

func TestLimitRangesHoldForPods(t *testing.T) {
	b := newBench(t)
	c := b.client("")
	for name, item := range map[string]corev1.LimitRangeItem{
		"defaults": {Type: corev1.LimitTypeContainer, Default: list("memory=64Mi cpu=200m"), DefaultRequest: list("memory=32Mi cpu=100m")},
		"bounds":   {Type: corev1.LimitTypeContainer, Min: list("cpu=50m"), Max: list("memory=1Gi"), MaxLimitRequestRatio: list("memory=4")},
		"sum":      {Type: corev1.LimitTypePod, Max: list("cpu=1")},
	} {
		b.space(name)
		_, err := c.CoreV1().LimitRanges(name).Create(t.Context(), &corev1.LimitRange{
			ObjectMeta: metav1.ObjectMeta{Name: "l"}, Spec: corev1.LimitRangeSpec{Limits: []corev1.LimitRangeItem{item}},
		}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
	}
	for i, test := range []struct {
		space, requests, limits string
		want                    string // of the error, or the container's resources
	}{
		{"defaults", "", "", "cpu 100m 200m memory 32Mi 64Mi"},
		{"defaults", "", "memory=48Mi", "cpu 100m 200m memory 48Mi 48Mi"}, // the request comes from the limit first
		{"defaults", "cpu=150m", "", "cpu 150m 200m memory 32Mi 64Mi"},
		{"defaults", "cpu=300m", "", "Invalid value: \"300m\": must be less than or equal to cpu limit of 200m"},
		{"bounds", "cpu=40m memory=1Mi", "memory=1Mi", "minimum cpu usage per Container is 50m, but request is 40m"},
		{"bounds", "memory=1Mi", "memory=1Mi", "cpu 50m 0 memory 1Mi 1Mi"}, // the least is the default
		{"bounds", "cpu=50m memory=1Gi", "memory=2Gi", "maximum memory usage per Container is 1Gi, but limit is 2Gi"},
		{"bounds", "cpu=50m memory=1Mi", "memory=5Mi", "memory max limit to request ratio per Container is 4, but provided ratio is 5.000000"},
		{"bounds", "cpu=50m memory=1Mi", "", "but provided ratio is 1024.000000"}, // the most is the default
		{"bounds", "cpu=50m memory=1Mi", "memory=4Mi", "cpu 50m 0 memory 1Mi 4Mi"},
		{"sum", "cpu=600m", "cpu=600m", "maximum cpu usage per Pod is 1, but limit is 1200m"},
		{"sum", "cpu=500m", "cpu=500m", "cpu 500m 500m memory 0 0"},
		{"sum", "", "", "maximum cpu usage per Pod is 1.  No limit is specified"},
	} {
		p := simplePod("p")
		p.GenerateName, p.Name = "p-", ""
		p.Spec.Containers[0].Resources = corev1.ResourceRequirements{Requests: list(test.requests), Limits: list(test.limits)}
		if test.space == "sum" {
			p.Spec.Containers = append(p.Spec.Containers, *p.Spec.Containers[0].DeepCopy())
			p.Spec.Containers[1].Name = "d"
		}
		p, err := c.CoreV1().Pods(test.space).Create(t.Context(), p, metav1.CreateOptions{})
		got := ""
		if err != nil {
			got = err.Error()
		} else {
			r := p.Spec.Containers[0].Resources
			got = "cpu " + r.Requests.Cpu().String() + " " + r.Limits.Cpu().String() + " memory " + r.Requests.Memory().String() + " " + r.Limits.Memory().String()
		}
		if !strings.Contains(got, test.want) {
			t.Errorf("%d: %s", i, got)
		}
		if i == 0 && p.Annotations[annotationLimits] != "LimitRanger plugin set: cpu, memory request for container c; cpu, memory limit for container c" {
			t.Errorf("annotations %v", p.Annotations)
		}
	}
}

func TestLimitRangesHoldForClaims(t *testing.T) {
	b := newBench(t)
	b.space("default")
	c := b.client("").CoreV1()
	_, err := c.LimitRanges("default").Create(t.Context(), &corev1.LimitRange{
		ObjectMeta: metav1.ObjectMeta{Name: "l"},
		Spec: corev1.LimitRangeSpec{Limits: []corev1.LimitRangeItem{
			{Type: corev1.LimitTypePersistentVolumeClaim, Min: list("storage=1Gi"), Max: list("storage=4Gi")},
		}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for size, want := range map[string]string{
		"512Mi": "minimum storage usage per PersistentVolumeClaim is 1Gi, but request is 512Mi", "1Gi": "", "4Gi": "",
		"5Gi": "maximum storage usage per PersistentVolumeClaim is 4Gi, but request is 5Gi",
	} {
		got := ""
		if _, err := c.PersistentVolumeClaims("default").Create(t.Context(), claim("c-", size), metav1.CreateOptions{}); err != nil {
			got = err.Error()
		}
		if !strings.HasSuffix(got, want) || (want == "") != (got == "") {
			t.Errorf("%s: %s", size, got)
		}
	}
}

func claim(generate, size string) *corev1.PersistentVolumeClaim {
	return &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{GenerateName: generate},
		Spec: corev1.PersistentVolumeClaimSpec{
			AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			Resources:   corev1.VolumeResourceRequirements{Requests: list("storage=" + size)},
		},
	}
}
