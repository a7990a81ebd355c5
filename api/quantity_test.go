// SPDX-License-Identifier: Apache-2.0

package api

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// TestDangerousQuantitiesAreFound hangs when one is decoded.
func TestDangerousQuantitiesAreFound(t *testing.T) {
	pod := reflect.TypeFor[corev1.Pod]()
	for text, bad := range map[string]bool{
		`{"spec":{"containers":[{"resources":{"limits":{"cpu":"1e999999999"}}}]}}`:   true,
		`{"spec":{"containers":[{"resources":{"limits":{"cpu":1}}}]}}`:               false,
		`{"spec":{"Containers":[{"resources":{"limits":{"cpu":"1e999999999"}}}]}}`:   true,
		`{"spec":{"volumes":[{"emptyDir":{"sizeLimit":"1E999999999"}}]}}`:            true,
		`{"spec":{"overhead":{"hugepages-1e999999999":"1"}}}`:                        true,
		`{"spec":{"overhead":{"cpu":"1e3"}}}`:                                        false,
		`{"spec":{"containers":[{"args":["1e999999999"],"image":"x:1e999999999"}]}}`: false,
		`{"status":{"containerStatuses":[{"allocatedResources":{"cpu":"1e9999"}}]}}`: true,
		`{"spec":[1,{"a":"1e9999"}]}`:                                                false,
	} {
		var value any
		if err := json.Unmarshal([]byte(text), &value); err != nil {
			t.Fatal(err)
		}
		if err := SafeJSON(value, pod); (err != nil) != bad {
			t.Errorf("%s: %v", text, err)
		}
	}

	const mark = "7777777777" // of the same length as what must not be made a Quantity
	p := &corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{{Args: []string{"1e999999999"}, Resources: corev1.ResourceRequirements{
		Limits: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(mark)},
	}}}}}
	data, err := p.Marshal()
	if err != nil || strings.Count(string(data), mark) != 1 {
		t.Fatalf("%v %q", err, data)
	}
	if err := SafeProtobuf(data, pod); err != nil {
		t.Error(err)
	}
	if err := SafeProtobuf([]byte(strings.Replace(string(data), mark, "1e99999999", 1)), pod); err == nil {
		t.Error("a quantity in protobuf was not found")
	}
	if err := SafeProtobuf(data[:len(data)-3], pod); err == nil {
		t.Error("a message was cut")
	}
}

func FuzzSafeProtobuf(f *testing.F) {
	data, err := (&corev1.Pod{Spec: corev1.PodSpec{NodeName: "n"}}).Marshal()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Fuzz(func(t *testing.T, data []byte) { _ = SafeProtobuf(data, reflect.TypeFor[corev1.Pod]()) })
}
