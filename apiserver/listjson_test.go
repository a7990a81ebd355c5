// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// A list that is made object by object is the one that is made of all of them, which
// who wants it indented gets.
func TestListsInJSON(t *testing.T) {
	b := newBench(t)
	for i := range 5 {
		p := b.pod("default", fmt.Sprint("p<", i), "on="+fmt.Sprint(i%2))
		p.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: "m", FieldsV1: metav1.NewFieldsV1(`{"f:a": {}}`)}}
		if err := b.store.Update("pods", p); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.store.Create("configmaps", &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "c"}, Data: map[string]string{"k": "<&>"}}); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/api/v1/pods", "/api/v1/namespaces/default/configmaps", "/api/v1/namespaces/none/pods", "/apis/apps/v1/deployments"} {
		for _, query := range []string{"", "limit=2", "labelSelector=on%3D1", "labelSelector=on%3D1&limit=1", "includeObject=Object", "includeObject=None"} {
			for _, as := range []string{"", ";as=Table;v=v1;g=meta.k8s.io", ";as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"} {
				read := func(query string) (out any, text string) {
					code, _, body := b.do("GET", path+"?"+query, "", "Accept", "application/json"+as)
					if err := json.Unmarshal([]byte(body), &out); err != nil || code != 200 {
						t.Errorf("%s?%s %s: %d %v %s", path, query, as, code, err, body)
					}
					return out, body
				}
				streamed, text := read(query)
				whole, _ := read(query + "&pretty=true")
				if !reflect.DeepEqual(streamed, whole) {
					t.Errorf("%s?%s %s: %v\nand not %v", path, query, as, streamed, whole)
				}
				if strings.Count(text, "\n") > 1 {
					t.Errorf("%s?%s %s: is not streamed: %s", path, query, as, text)
				}
			}
		}
	}
	// Every kind's lists end with their items.
	for _, k := range b.server.kinds {
		if k.can("list") && k.measure == nil {
			b.get(rootOf(k.groupVersion())+"/"+k.name, 200, nil)
		}
	}
}
