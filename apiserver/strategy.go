// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/minikubelet/minikubelet/api"
	"github.com/minikubelet/minikubelet/store"
)

// annotationFile names the manifest that an object belongs to.
const annotationFile = "minikubelet/manifest"

// reserved annotations say to the agent whose an object is: clients cannot set
// them.
var reserved = []string{annotationFile, "minikubelet/run", corev1.MirrorPodAnnotationKey, "kubernetes.io/config.source"}

// checkReserved refuses to change them.
func checkReserved(now, before map[string]string) field.ErrorList {
	var errs field.ErrorList
	for _, key := range reserved {
		if now[key] != before[key] {
			errs = append(errs, field.Forbidden(field.NewPath("metadata", "annotations").Key(key), "the node itself sets this annotation"))
		}
	}
	return errs
}

// refuse is why a stored object must not be changed at all; nil when it may.
func (k *kind) refuse(o store.Object) error {
	file := o.GetAnnotations()[annotationFile]
	if file == "" {
		return nil
	}
	return apierrors.NewForbidden(k.groupResource(), o.GetName(),
		fmt.Errorf("it comes from the manifest %s: change or remove that file", file))
}

// counted is for byRules: the generation counts the changes of what spec gives.
func counted(spec func(store.Object) any) func(o, old store.Object) {
	return func(o, old store.Object) {
		switch {
		case old == nil:
			o.SetGeneration(1)
		case !apiequality.Semantic.DeepEqual(spec(o), spec(old)):
			o.SetGeneration(old.GetGeneration() + 1)
		}
	}
}

// byRules is the strategy of kinds that need nothing but upstream's rules. What
// clients do not decide, a status for one, prepare sets right before; old is nil
// for a new object. It may be nil.
func byRules(rules api.Rules, prepare func(o, old store.Object)) *strategy {
	if prepare == nil {
		prepare = func(store.Object, store.Object) {}
	}
	return &strategy{
		create: func(o store.Object) (field.ErrorList, []string) {
			prepare(o, nil)
			rules.Default(o)
			return rules.Create(o), nil
		},
		update: func(o, old store.Object) (field.ErrorList, []string) {
			prepare(o, old)
			rules.Default(o)
			return rules.Update(o, old), nil
		},
	}
}
