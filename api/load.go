// SPDX-License-Identifier: Apache-2.0

package api

import (
	"fmt"
	"io"
	"reflect"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Manifest is a manifest that was read and checked.
type Manifest struct {
	// Objects are the defaulted Pods, each with its UID still to be given. Empty when
	// there is any Problem: a manifest is taken whole or not at all.
	Objects []Object
	// Problems are errors.
	Problems []Problem
	// Warnings name fields that have no effect on this node.
	Warnings []Problem
}

// Load reads a manifest, defaults and validates its Pods, and checks that this node
// honours their fields. It reports all errors of all documents at once.
func Load(name string, r io.Reader, nodeName string) Manifest {
	all, problems := decodeAll(name, r)
	m := Manifest{Problems: problems}
	first := map[string]Source{}
	for i := range all {
		d := &all[i]
		m.Problems = append(m.Problems, d.decodingProblems()...)
		m.Warnings = append(m.Warnings, d.dropServerFields()...)
		Default(d.Pod)
		m.check(d, nodeName)
		key := d.Pod.Namespace + "/" + d.Pod.Name
		if before, ok := first[key]; ok && d.Pod.Name != "" {
			m.Problems = append(m.Problems, d.problem(fault{"metadata.name",
				fmt.Sprintf("pod %s is already in document %d, line %d of this file", key, before.Document, before.Line)}))
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

// check adds what validation and support have to say of a defaulted Pod.
func (m *Manifest) check(d *decoded, nodeName string) {
	add := func(errs field.ErrorList) {
		for _, e := range errs {
			if !d.faulty(e.Field) {
				m.Problems = append(m.Problems, d.problem(fault{e.Field, e.ErrorBody()}))
			}
		}
	}
	refused, warnings := Unsupported(d.Pod, nodeName)
	if d.Pod.Name == "" && d.Pod.GenerateName != "" {
		f := fault{"metadata.name", "a Pod from a manifest needs a fixed name; generateName works only over the API"}
		m.Problems = append(m.Problems, d.problem(f))
		d.faults = append(d.faults, f)
	}
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
	p := d.Pod
	dropped(p.UID != "", "metadata.uid")
	dropped(p.ResourceVersion != "", "metadata.resourceVersion")
	dropped(p.Generation != 0, "metadata.generation")
	//lint:ignore SA1019 manifests written for old clusters still have it
	selfLink := &p.SelfLink
	dropped(*selfLink != "", "metadata.selfLink")
	dropped(!p.CreationTimestamp.IsZero(), "metadata.creationTimestamp")
	dropped(p.DeletionTimestamp != nil, "metadata.deletionTimestamp")
	dropped(p.DeletionGracePeriodSeconds != nil, "metadata.deletionGracePeriodSeconds")
	dropped(len(p.ManagedFields) > 0, "metadata.managedFields")
	dropped(!reflect.DeepEqual(p.Status, corev1.PodStatus{}), "status")
	p.UID, p.ResourceVersion, *selfLink = "", "", ""
	p.Generation = 1
	p.CreationTimestamp = metav1.Time{}
	p.DeletionTimestamp, p.DeletionGracePeriodSeconds, p.ManagedFields = nil, nil, nil
	p.Status = corev1.PodStatus{Phase: corev1.PodPending}
	return warnings
}
