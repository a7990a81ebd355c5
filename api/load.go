// SPDX-License-Identifier: Apache-2.0

package api

import (
	"fmt"
	"io"
	"reflect"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Manifest is a manifest that was read and checked.
type Manifest struct {
	// Objects are the defaulted objects, each with its UID still to be given. Empty when
	// there is any Problem: a manifest is taken whole or not at all.
	Objects []Object
	// Problems are errors.
	Problems []Problem
	// Warnings name fields that have no effect on this node.
	Warnings []Problem
}

// Load reads a manifest, defaults and validates its objects, and checks that this
// node honours the fields of Pods. It reports all errors of all documents at once.
func Load(name string, r io.Reader, nodeName string) Manifest {
	all, problems := decodeAll(name, r)
	m := Manifest{Problems: problems}
	first := map[string]Source{}
	for i := range all {
		d := &all[i]
		m.Problems = append(m.Problems, d.decodingProblems()...)
		m.Warnings = append(m.Warnings, d.dropServerFields()...)
		if d.Pod != nil {
			Default(d.Pod)
		} else {
			d.Kind.complete(d.Other)
		}
		m.check(d, nodeName)
		o := d.Meta()
		key := strings.ToLower(o.GetObjectKind().GroupVersionKind().Kind) + " " + strings.TrimPrefix(o.GetNamespace()+"/"+o.GetName(), "/")
		if before, ok := first[key]; ok && o.GetName() != "" {
			m.Problems = append(m.Problems, d.problem(fault{"metadata.name",
				fmt.Sprintf("%s is already in document %d, line %d of this file", key, before.Document, before.Line)}))
		} else {
			first[key] = d.Source
		}
		m.Objects = append(m.Objects, d.Object)
	}
	if len(m.Problems) > 0 {
		m.Objects = nil
	}
	sortProblems(m.Problems)
	sortProblems(m.Warnings)
	return m
}

// check adds what validation and support have to say of a defaulted object.
func (m *Manifest) check(d *decoded, nodeName string) {
	add := func(errs field.ErrorList) {
		for _, e := range errs {
			if !d.faulty(e.Field) {
				m.Problems = append(m.Problems, d.problem(fault{e.Field, e.ErrorBody()}))
			}
		}
	}
	if o := d.Meta(); o.GetName() == "" && o.GetGenerateName() != "" {
		f := fault{"metadata.name", "a " + o.GetObjectKind().GroupVersionKind().Kind + " from a manifest needs a fixed name; generateName works only over the API"}
		m.Problems = append(m.Problems, d.problem(f))
		d.faults = append(d.faults, f)
	}
	if d.Pod == nil {
		add(d.Kind.Rules.Create(d.Other))
		add(d.Kind.checkMeta(d.Other))
		return
	}
	refused, warnings := Unsupported(d.Pod, nodeName)
	add(Validate(d.Pod))
	add(refused)
	for _, w := range warnings {
		m.Warnings = append(m.Warnings, d.problem(fault{w.Field, w.Message}))
	}
}

// dropServerFields removes what the server sets, such as the status that kubectl
// get prints, and warns of each field.
func (d *decoded) dropServerFields() []Problem {
	var warnings []Problem
	dropped := func(set bool, name string) {
		if set {
			warnings = append(warnings, d.problem(fault{name, "set by the node; the manifest's value is not used"}))
		}
	}
	o := d.Meta()
	created := o.GetCreationTimestamp()
	dropped(o.GetUID() != "", "metadata.uid")
	dropped(o.GetResourceVersion() != "", "metadata.resourceVersion")
	dropped(o.GetGeneration() != 0, "metadata.generation")
	dropped(o.GetSelfLink() != "", "metadata.selfLink")
	dropped(!created.IsZero(), "metadata.creationTimestamp")
	dropped(o.GetDeletionTimestamp() != nil, "metadata.deletionTimestamp")
	dropped(o.GetDeletionGracePeriodSeconds() != nil, "metadata.deletionGracePeriodSeconds")
	dropped(len(o.GetManagedFields()) > 0, "metadata.managedFields")
	o.SetUID("")
	o.SetResourceVersion("")
	o.SetSelfLink("")
	o.SetCreationTimestamp(metav1.Time{})
	o.SetDeletionTimestamp(nil)
	o.SetDeletionGracePeriodSeconds(nil)
	o.SetManagedFields(nil)
	switch o := o.(type) {
	case *corev1.Pod:
		dropped(!reflect.DeepEqual(o.Status, corev1.PodStatus{}), "status")
		o.Generation, o.Status = 1, corev1.PodStatus{Phase: corev1.PodPending}
	case *corev1.Namespace:
		dropped(!reflect.DeepEqual(o.Status, corev1.NamespaceStatus{}), "status")
		o.Generation, o.Status = 0, corev1.NamespaceStatus{}
	case *corev1.PersistentVolume:
		dropped(!reflect.DeepEqual(o.Status, corev1.PersistentVolumeStatus{}), "status")
		o.Generation, o.Status = 0, corev1.PersistentVolumeStatus{}
	case *corev1.PersistentVolumeClaim:
		dropped(!reflect.DeepEqual(o.Status, corev1.PersistentVolumeClaimStatus{}), "status")
		o.Generation, o.Status = 0, corev1.PersistentVolumeClaimStatus{}
	default:
		o.SetGeneration(0)
	}
	return warnings
}
