// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/http"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const fewWatchers = 10

// apiNode measures an agent's start, and what it takes of memory with the API in use.
func (b *bench) apiNode(ctx context.Context, d *daemon) error {
	s, err := d.connect()
	if err != nil {
		return err
	}
	var ready []float64
	for range b.rounds {
		d.end()
		began := time.Now()
		if err := d.launch(); err != nil {
			return err
		}
		if err := untilReady(ctx, s.config.Host); err != nil {
			return err
		}
		ready = append(ready, ms(time.Since(began)))
	}
	b.add(row{What: "the agent's start until it serves (/readyz)", Unit: "ms", Ours: median(ready), Best: slices.Min(ready), Goal: "≤ 300"})
	if err := wait(ctx, settle); err != nil {
		return err
	}
	b.add(row{What: "agent with the API, resident, idle", Unit: "MB", Ours: s.memory(), Goal: "≤ 50"})
	for range fewWatchers {
		w, err := s.client.CoreV1().Pods("").Watch(ctx, metav1.ListOptions{})
		if err != nil {
			return err
		}
		defer w.Stop()
		go func() {
			for range w.ResultChan() { // as an informer, without its memory
			}
		}()
	}
	if _, err := d.fill(ctx, works()[0], b.pods); err != nil {
		return err
	}
	if err := wait(ctx, settle); err != nil {
		return err
	}
	b.add(row{What: fmt.Sprintf("agent with the API, resident, %d Pods and %d watchers", b.pods, fewWatchers), Unit: "MB", Ours: s.memory(), Goal: "≤ 75"})
	return nil
}

func wait(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// untilReady asks a server whether it is ready until it is, each time as a new client.
func untilReady(ctx context.Context, url string) error {
	client := &http.Client{Timeout: time.Second, Transport: &http.Transport{
		DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, // nothing secret is asked or told
	}}
	for end := time.Now().Add(startBound); time.Now().Before(end); {
		if r, err := client.Get(url + "/readyz"); err == nil {
			_ = r.Body.Close()
			if r.StatusCode == http.StatusOK {
				return nil
			}
		}
		if err := wait(ctx, time.Millisecond); err != nil {
			return err
		}
	}
	return fmt.Errorf("%s is not ready after %v", url, startBound)
}
