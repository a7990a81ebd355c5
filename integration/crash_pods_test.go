// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"fmt"
	"strconv"
	"strings"
)

// crashJob is a Pod that ends by itself. Each of its containers notes its start
// in a file of the host, writes numbered lines, and ends with a code of its own.
type crashJob struct {
	name string
	// init are the init containers, a sidecar among them perhaps.
	init []crashContainer
	apps []crashContainer
	// objects: a ConfigMap, a Secret, trust anchors and a token are mounted, and a
	// variable comes from the first.
	objects bool
	// volumes: an artifact, and parts of a claim that all share and of an ephemeral volume
	// are mounted. The first container writes its job's name into both.
	volumes bool
	// deadline: one more container goes on until the Pod's deadline.
	deadline bool
	// users: it has a user namespace.
	users   bool
	removed bool
	checked bool
}

type crashContainer struct {
	name  string
	lines int
	code  int
	// again is the restart rule that its first attempt asks for; may be empty.
	again string
	// sidecar: it goes on until it is told to end. Its postStart hook waits for its
	// note, so that what comes next begins after it.
	sidecar bool
}

const (
	restartOne = "Restart"
	restartAll = "RestartAllContainers"
)

// restartsAll says whether one of the job's containers has all of them restarted.
func (j *crashJob) restartsAll() bool {
	for _, app := range j.apps {
		if app.again == restartAll {
			return true
		}
	}
	return false
}

// newJob draws a job.
func (c *crashes) newJob(number int) *crashJob {
	job := &crashJob{name: "job-" + strconv.Itoa(number), objects: c.random.IntN(3) == 0, volumes: c.random.IntN(3) == 0,
		deadline: c.random.IntN(8) == 0, users: c.random.IntN(3) == 0}
	for i := range 1 + c.random.IntN(2) {
		job.init = append(job.init, crashContainer{name: "i" + strconv.Itoa(i), lines: c.random.IntN(200)})
	}
	if c.random.IntN(3) == 0 {
		side := crashContainer{name: "side", sidecar: true}
		at := c.random.IntN(len(job.init) + 1)
		job.init = append(job.init[:at], append([]crashContainer{side}, job.init[at:]...)...)
	}
	for i := range 1 + c.random.IntN(3) {
		job.apps = append(job.apps, crashContainer{name: "a" + strconv.Itoa(i), lines: c.random.IntN(2000), code: c.random.IntN(4)})
	}
	if !job.deadline {
		job.apps[0].again = []string{"", "", "", "", restartOne, restartAll}[c.random.IntN(6)]
	}
	return job
}

// script notes the start, writes the lines in four portions, and ends.
func (c *crashContainer) script(job *crashJob) string {
	note := fmt.Sprintf("echo %s >>/starts/%s; ", c.name, job.name)
	if job.volumes && c.name == job.init[0].name { // who waits for its note reads it
		note = fmt.Sprintf("echo %s >/claimed/name; echo %s >/own/name; ", job.name, job.name) + note
	}
	if c.sidecar {
		return note + fmt.Sprintf("trap \"echo term >>/starts/%s.end; exit 0\" TERM; while :; do sleep 0.1; done", job.name)
	}
	if c.again != "" {
		note += fmt.Sprintf("if [ ! -e /shared/%s ]; then touch /shared/%s; sleep 0.3; exit 42; fi; ", c.name, c.name)
	}
	if job.objects {
		note += "if [ $FROM-$(cat /conf/k)-$(cat /hidden/s)-$(cat /both/k)-$(cat /both/s)-$(grep -c BEGIN /both/ca)-$(cut -c1-3 /both/token) != one-one-two-one-two-1-eyJ ]; then exit 99; fi; "
	}
	if job.volumes {
		note += fmt.Sprintf("if [ $(cat /claimed/name)-$(cat /own/name)-$(cat /art/k)-$(cat /one) != %s-%s-three-three ]; then exit 98; fi; ", job.name, job.name)
	}
	return note + fmt.Sprintf("for p in 0 1 2 3; do seq $((p*%d+1)) $((p*%d+%d)); sleep 0.1; done; exit %d", c.lines, c.lines, c.lines, c.code)
}

// fields are those of the container beside its script.
func (c *crashContainer) fields(job *crashJob) string {
	fields := ""
	if c.sidecar {
		fields += fmt.Sprintf(", restartPolicy: Always, startupProbe: {periodSeconds: 1, failureThreshold: 1000, exec: {command: [grep, -q, side, /starts/%s]}}"+
			", lifecycle: {postStart: {exec: {command: [sh, -c, \"until grep -q side /starts/%s; do sleep 0.1; done\"]}}"+
			", preStop: {exec: {command: [sh, -c, \"echo pre >>/starts/%s.end\"]}}}", job.name, job.name, job.name)
	}
	if c.again != "" {
		fields += ", restartPolicy: Never, restartPolicyRules: [{action: " + c.again + ", exitCodes: {operator: In, values: [42]}}]"
	}
	if job.objects {
		fields += ", env: [{name: FROM, valueFrom: {configMapKeyRef: {name: conf, key: k}}}]"
	}
	return fields
}

// container is one of busybox; mounts are those beside the volumes that all have.
func (c *crashes) container(name, script, mounts, fields string) string {
	return "  - {name: " + name + ", image: busybox, imagePullPolicy: IfNotPresent, command: [sh, -c, '" + script + "'], volumeMounts: [" +
		"{name: starts, mountPath: /starts}, {name: shared, mountPath: /shared}" + mounts + "]" + fields + "}\n"
}

func (c *crashes) pod(name, policy, init, apps, volumes, more string) string {
	if init != "" {
		init = "  initContainers:\n" + init
	}
	return podHead(name) + "\n  restartPolicy: " + policy + "\n" + more +
		"  volumes: [{name: starts, hostPath: {path: " + c.path("starts") + "}}, {name: shared, emptyDir: {}}" + volumes + "]\n" +
		init + "  containers:\n" + apps
}

func (c *crashes) manifest(job *crashJob) string {
	var init, apps, mounts, volumes, more string
	if job.objects {
		mounts = ", {name: conf, mountPath: /conf}, {name: hidden, mountPath: /hidden}, {name: both, mountPath: /both}"
		volumes = ", {name: conf, configMap: {name: conf}}, {name: hidden, secret: {secretName: hidden}}, " +
			"{name: both, projected: {sources: [{configMap: {name: conf}}, {secret: {name: hidden}}, {clusterTrustBundle: {name: anchors, path: ca}}, {serviceAccountToken: {path: token}}]}}"
		more += "  serviceAccountName: default\n"
	}
	if job.volumes {
		mounts += ", {name: claimed, mountPath: /claimed, subPath: " + job.name + "}, {name: own, mountPath: /own, subPath: a/b}, " +
			"{name: art, mountPath: /art}, {name: art, mountPath: /one, subPath: k}"
		volumes += ", {name: claimed, persistentVolumeClaim: {claimName: data}}, " +
			"{name: own, ephemeral: {volumeClaimTemplate: {spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Mi}}}}}}, " +
			"{name: art, image: {reference: " + c.artifact + ", pullPolicy: IfNotPresent}}"
	}
	for _, i := range job.init {
		init += c.container(i.name, i.script(job), mounts, i.fields(job))
	}
	for _, a := range job.apps {
		apps += c.container(a.name, a.script(job), mounts, a.fields(job))
	}
	if job.deadline {
		apps += c.container("endless", fmt.Sprintf("echo endless >>/starts/%s; while :; do sleep 0.1; done", job.name), "", "")
		more += "  activeDeadlineSeconds: 20\n  terminationGracePeriodSeconds: 1\n"
	}
	if job.users {
		more += "  hostUsers: false\n"
	}
	return c.pod(job.name, "Never", init, apps, volumes, more)
}

// objects are what jobs refer to.
func (c *crashes) objects() string {
	return strings.Join([]string{
		conf("conf", "k: one"), secret("hidden", "s: two"), trustBundle("anchors", "", newCA(c.t)), goes(claim("data", "ReadWriteOnce", "")),
	}, "---\n")
}

// steadyPod is never to be disturbed. Its container web answers at a hostPort, and its
// probes never fail.
func (c *crashes) steadyPod() string {
	patient := "periodSeconds: 1, timeoutSeconds: 60, failureThreshold: 60"
	return c.pod("steady", "Always",
		c.container("before", "echo before >>/starts/steady; echo prepared >/shared/file", "", "")+
			c.container("side", "echo side >>/starts/steady; exec sleep 100000", "", ", restartPolicy: Always, startupProbe: {exec: {command: [grep, -q, side, /starts/steady]}, "+patient+"}"),
		c.container("count", "echo count >>/starts/steady; cat /shared/file; i=0; while :; do i=$((i+1)); echo $i; usleep 20000; done", "",
			", livenessProbe: {exec: {command: [test, -e, /shared/file]}, "+patient+"}, lifecycle: {postStart: {exec: {command: [test, -e, /shared/file]}}}")+
			c.container("web", "echo web >>/starts/steady; exec httpd -f -p 80 -h /shared", "",
				fmt.Sprintf(", ports: [{containerPort: 80, hostPort: %d}], readinessProbe: {httpGet: {path: /file, port: 80}, %s}, livenessProbe: {tcpSocket: {port: 80}, %s}", c.port, patient, patient)),
		"", "  terminationGracePeriodSeconds: 0\n")
}

// loopPod crashes for ever.
func (c *crashes) loopPod() string {
	return c.pod("loop", "Always", "", c.container("crash", "echo crash >>/starts/loop; seq 1 500; exit 3", "", ""), "", "")
}

// sickPod is killed by its liveness probe for ever.
func (c *crashes) sickPod() string {
	return c.pod("sick", "Always", "", c.container("ill", "echo ill >>/starts/sick; seq 1 500; exec sleep 100000", "",
		", livenessProbe: {exec: {command: [\"false\"]}, periodSeconds: 1, failureThreshold: 1, terminationGracePeriodSeconds: 1}"), "", "")
}

// slowPod takes its time to end.
func (c *crashes) slowPod() string {
	return c.pod("slow", "Always", "", c.container("slow", "trap \"sleep 1; exit 0\" TERM; while :; do sleep 0.1; done", "",
		", lifecycle: {preStop: {sleep: {seconds: 1}}}"), "", "")
}
