// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/scheme"
)

const (
	watchers   = 1000
	watchBound = time.Minute
)

// manyWatchers measures a change's way to many watchers, and what they cost whoever
// writes. Their events are read but not decoded: the client shares the processors.
func manyWatchers(ctx context.Context, s *apiServer) ([]row, error) {
	defer s.removePods()
	if err := s.createPod(ctx, "watched"); err != nil {
		return nil, err
	}
	pods := s.client.CoreV1().Pods("default")
	change := func(i int) error {
		_, err := pods.Patch(ctx, "watched", types.StrategicMergePatchType, fmt.Appendf(nil, statusPatch, i), metav1.PatchOptions{}, "status")
		return err
	}
	alone, _, err := timed(ctx, sample/4, change)
	if err != nil {
		return nil, err
	}
	pod, err := pods.Get(ctx, "watched", metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	before := s.memory()
	wctx, stop := context.WithCancel(ctx)
	defer stop()
	got := make(chan error, watchers)
	open := new(errgroup.Group)
	open.SetLimit(8)
	for range watchers {
		open.Go(func() error { return s.watchRaw(wctx, pod.ResourceVersion, got) })
	}
	if err := open.Wait(); err != nil {
		return nil, err
	}
	var last, writes []float64
	for i := range s.rounds + 1 {
		began := time.Now()
		if err := change(-i - 1); err != nil {
			return nil, err
		}
		wrote := time.Since(began)
		for n := range watchers {
			select {
			case err := <-got:
				if err != nil {
					return nil, fmt.Errorf("a watcher: %w", err)
				}
			case <-time.After(watchBound):
				return nil, fmt.Errorf("%d of %d watchers have heard of a change after %v", n, watchers, watchBound)
			}
		}
		if i > 0 {
			last, writes = append(last, ms(time.Since(began))), append(writes, ms(wrote))
		}
	}
	return []row{
		{What: "PATCH a Pod's status, nobody watches", Unit: "ms", Ours: alone},
		{What: fmt.Sprintf("the same with %d watchers", watchers), Unit: "ms", Ours: median(writes), Best: slices.Min(writes)},
		{What: fmt.Sprintf("from the write to the last of %d watchers", watchers), Unit: "ms", Ours: median(last), Best: slices.Min(last)},
		{What: fmt.Sprintf("memory for each of %d watchers", watchers), Unit: "kB", Ours: 1000 * (s.memory() - before) / watchers},
	}, nil
}

// watchRaw opens a watch on Pods and tells of each event, and of its end.
func (s *apiServer) watchRaw(ctx context.Context, version string, got chan<- error) error {
	body, err := s.client.CoreV1().RESTClient().Get().Namespace("default").Resource("pods").
		VersionedParams(&metav1.ListOptions{Watch: true, ResourceVersion: version}, scheme.ParameterCodec).Stream(ctx)
	if err != nil {
		return err
	}
	go func() {
		defer body.Close()
		var size [4]byte
		for {
			_, err := io.ReadFull(body, size[:])
			if err == nil {
				_, err = io.CopyN(io.Discard, body, int64(binary.BigEndian.Uint32(size[:])))
			}
			if ctx.Err() != nil {
				return
			}
			if got <- err; err != nil {
				return
			}
		}
	}()
	return nil
}

const (
	manyObjects = 10000
	objectBytes = 1000 // in each
	pageSize    = 500
)

// manyFull measures a server with many objects.
func manyFull(ctx context.Context, s *apiServer) (_ []row, err error) {
	maps := s.client.CoreV1().ConfigMaps("default")
	defer func() {
		_ = maps.DeleteCollection(context.Background(), metav1.DeleteOptions{}, metav1.ListOptions{}) // the server is thrown away as well
	}()
	if err := wait(ctx, settle); err != nil {
		return nil, err
	}
	before := s.memory()
	began := time.Now()
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(16)
	for i := range manyObjects {
		g.Go(func() error {
			_, err := maps.Create(gctx, &corev1.ConfigMap{
				ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("m%05d", i)}, Data: map[string]string{"k": fmt.Sprintf("%*d", objectBytes, i)},
			}, metav1.CreateOptions{})
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	rate := manyObjects / time.Since(began).Seconds()
	get, _, err := timed(ctx, sample, func(i int) error {
		_, err := maps.Get(ctx, fmt.Sprintf("m%05d", i*37%manyObjects), metav1.GetOptions{})
		return err
	})
	if err != nil {
		return nil, err
	}
	paged, _, err := timed(ctx, s.rounds, func(int) error {
		n, o := 0, metav1.ListOptions{Limit: pageSize}
		for {
			list, err := maps.List(ctx, o)
			if err != nil {
				return err
			}
			n += len(list.Items)
			if o.Continue = list.Continue; o.Continue != "" {
				continue
			}
			if n < manyObjects {
				return fmt.Errorf("%d of %d objects listed", n, manyObjects)
			}
			return nil
		}
	})
	if err != nil {
		return nil, err
	}
	full := s.memory()
	if err := wait(ctx, settle); err != nil {
		return nil, err
	}
	what := fmt.Sprintf("%d objects of %d bytes", manyObjects, objectBytes)
	return []row{
		{What: what + ": created, 16 at a time", Unit: "1/s", Ours: rate},
		{What: what + ": GET one", Unit: "ms", Ours: get},
		{What: fmt.Sprintf("%s: LIST all in pages of %d", what, pageSize), Unit: "ms", Ours: paged},
		{What: what + ": resident before", Unit: "MB", Ours: before},
		{What: what + ": resident at once", Unit: "MB", Ours: full},
		{What: fmt.Sprintf("%s: resident %v later", what, settle), Unit: "MB", Ours: s.memory()},
	}, nil
}

// settle is after how long memory is what it stays.
const settle = 5 * time.Second
