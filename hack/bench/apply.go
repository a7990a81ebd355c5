// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/yaml"
)

// apply measures kubectl apply beside run, both with a running agent, from the
// start of the program to the event that tells that all apps run, in turn.
func (b *bench) apply(ctx context.Context, d *daemon) error {
	s, err := d.connect()
	if err != nil {
		return err
	}
	kubectl := func(args ...string) *exec.Cmd {
		cmd := exec.CommandContext(ctx, filepath.Join(b.bin, "kubectl"), append(args, "--kubeconfig", d.kubeconfig())...)
		cmd.Env = append(os.Environ(), "HOME="+b.path("node")) // its cache of what the API has
		return cmd
	}
	agent := func(args ...string) *exec.Cmd {
		return exec.CommandContext(ctx, filepath.Join(b.bin, "minikubelet"), args...)
	}
	var kubectlStarts, agentStarts []float64
	for range b.rounds {
		for to, cmd := range map[*[]float64]*exec.Cmd{&kubectlStarts: kubectl("version", "--client"), &agentStarts: agent("version")} {
			began := time.Now()
			if out, err := cmd.CombinedOutput(); err != nil {
				return fmt.Errorf("%s: %w: %s", cmd, err, out)
			}
			*to = append(*to, ms(time.Since(began)))
		}
	}
	starts := median(kubectlStarts) - median(agentStarts)
	b.add(row{What: "kubectl's own start (version --client), beside run's (version)", Unit: "ms", Beside: median(agentStarts), Ours: median(kubectlStarts)})
	for _, w := range works()[:2] {
		var applies, runs, more []float64
		for round := range b.rounds + 1 {
			file, pod, err := b.manifest(w, 2*round)
			if err != nil {
				return err
			}
			byApply, err := s.untilRunning(ctx, pod, kubectl("apply", "-f", file))
			if err != nil {
				return err
			}
			if file, pod, err = b.manifest(w, 2*round+1); err != nil {
				return err
			}
			byRun, err := s.untilRunning(ctx, pod, agent(append([]string{"run", "-f", file}, b.flags()...)...))
			if err != nil {
				return err
			}
			if round > 0 {
				applies, runs, more = append(applies, byApply), append(runs, byRun), append(more, byApply-byRun)
			}
		}
		b.add(row{What: w.name + ": kubectl apply to the app running, beside run", Unit: "ms", Beside: median(runs), Ours: median(applies), Best: slices.Min(applies)})
		b.add(row{What: w.name + ": kubectl apply more than run, without the programs' starts", Unit: "ms", Ours: median(more) - starts, Goal: "≤ 30"})
	}
	return nil
}

// manifest writes a workload's.
func (b *bench) manifest(w workload, serial int) (string, *corev1.Pod, error) {
	pod := w.pod(serial)
	data, err := yaml.Marshal(pod)
	if err != nil {
		return "", nil, err
	}
	file := b.path("node", pod.Name+".yaml")
	return file, pod, os.WriteFile(file, data, 0o600)
}

// untilRunning starts a command that creates a Pod, and tells after how many ms all
// its apps run. Then it ends the command and removes the Pod.
func (s *apiServer) untilRunning(ctx context.Context, pod *corev1.Pod, cmd *exec.Cmd) (took float64, err error) {
	ctx, cancel := context.WithTimeout(ctx, startBound)
	defer cancel()
	pods := s.client.CoreV1().Pods(pod.Namespace)
	now, err := pods.List(ctx, metav1.ListOptions{Limit: 1})
	if err != nil {
		return 0, err
	}
	events, err := pods.Watch(ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + pod.Name, ResourceVersion: now.ResourceVersion})
	if err != nil {
		return 0, err
	}
	defer events.Stop()
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	began := time.Now()
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	err = until(events, func(e watch.Event) bool { return e.Type != watch.Deleted && appsRun(e.Object.(*corev1.Pod)) })
	took = ms(time.Since(began))
	_ = cmd.Process.Signal(syscall.SIGINT) // run waits for that
	_ = cmd.Wait()
	if err != nil {
		return 0, fmt.Errorf("%s: %w: %s", cmd, err, out.Bytes())
	}
	err = pods.Delete(ctx, pod.Name, metav1.DeleteOptions{GracePeriodSeconds: ptr.To[int64](0)})
	if apierrors.IsNotFound(err) { // run has removed it
		return took, nil
	}
	return took, errors.Join(err, until(events, func(e watch.Event) bool { return e.Type == watch.Deleted }))
}

func appsRun(pod *corev1.Pod) bool {
	for _, c := range pod.Status.ContainerStatuses {
		if c.State.Running == nil {
			return false
		}
	}
	return len(pod.Status.ContainerStatuses) == len(pod.Spec.Containers)
}

// until reads events up to one.
func until(w watch.Interface, found func(watch.Event) bool) error {
	for e := range w.ResultChan() {
		if e.Type == watch.Error {
			return apierrors.FromObject(e.Object)
		}
		if found(e) {
			return nil
		}
	}
	return errors.New("the watch has ended")
}
