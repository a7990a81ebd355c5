// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discovery "k8s.io/api/discovery/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// addressed is a node that knows where Pods are, by their names.
type addressed struct {
	Streams
	at map[string]string
}

func (a addressed) Address(pod *corev1.Pod) (netip.Addr, bool) {
	ip, err := netip.ParseAddr(a.at[pod.Name])
	return ip, err == nil
}

// podServer is what answers in the Pods. Each connection's address is the first line of
// what it says of itself.
func podServer(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	switch r.URL.Path {
	case "/page":
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = io.WriteString(w, `<a href="/other">x</a><img src="near.png"><a href="http://elsewhere/y">`)
	case "/packed":
		w.Header().Set("Content-Type", "text/html")
		w.Header().Set("Content-Encoding", "gzip")
		z := gzip.NewWriter(w)
		_, _ = io.WriteString(z, `<a href="/other">x</a>`)
		_ = z.Close()
	case "/bomb":
		w.Header().Set("Content-Type", "text/html")
		w.Header().Set("Content-Encoding", "gzip")
		z := gzip.NewWriter(w)
		for range 40 {
			_, _ = z.Write(bytes.Repeat([]byte("a"), 1<<20))
		}
		_ = z.Close()
	case "/moved":
		http.Redirect(w, r, "/page", http.StatusFound)
	case "/away":
		http.Redirect(w, r, "http://169.254.169.254/secret", http.StatusFound)
	case "/cors":
		w.Header().Set("Access-Control-Allow-Origin", "*")
	case "/failing":
		http.Error(w, "teapot", http.StatusTeapot)
	case "/parts":
		_, _ = io.WriteString(w, "first\n")
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	case "/upgrade":
		conn, buf, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer conn.Close()
		_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
		_, _ = io.Copy(conn, buf)
	default:
		h := r.Header
		fmt.Fprintf(w, "%s %s host=%s body=%q auth=%q as=%q mine=%q for=%q uri=%q\n", r.Method, r.RequestURI, r.Host, body,
			h.Get("Authorization"), h.Get("Impersonate-User"), h.Get("X-Mine"), h.Get("X-Forwarded-For"), h.Get("X-Forwarded-Uri"))
	}
}

// proxyBench has Pods that answer at two ports of their addresses.
func proxyBench(t *testing.T) *bench {
	b := newBench(t)
	b.space("default")
	b.users("reads,reader,1\nall,root,2,system:masters\n")
	plain, secure := httptest.NewServer(http.HandlerFunc(podServer)), httptest.NewTLSServer(http.HandlerFunc(podServer))
	t.Cleanup(plain.Close)
	t.Cleanup(secure.Close)
	b.server.cfg.Streams = addressed{at: map[string]string{"web": "10.1.0.2", "local": "127.0.0.1", "link": "169.254.169.254", "other": "10.1.0.3"}}
	b.server.toPods = newPodTransport(func(ctx context.Context, _, address string) (net.Conn, error) {
		to, ok := map[string]string{
			"10.1.0.2:8080": plain.Listener.Addr().String(), "10.1.0.2:80": plain.Listener.Addr().String(), "10.1.0.2:8443": secure.Listener.Addr().String(),
		}[address]
		if !ok {
			return nil, fmt.Errorf("dial tcp %s: connect: connection refused", address)
		}
		return new(net.Dialer).DialContext(ctx, "tcp", to)
	})
	for _, name := range []string{"web", "local", "link", "other", "ended"} {
		p := &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, Labels: map[string]string{"app": name}},
			Spec: corev1.PodSpec{NodeName: "n1", Containers: []corev1.Container{
				{Name: "side"}, {Name: "c", Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: 8080, Protocol: corev1.ProtocolTCP}}},
			}},
			// What a status says is not where a Pod is.
			Status: corev1.PodStatus{PodIP: "10.1.0.2", PodIPs: []corev1.PodIP{{IP: "10.1.0.2"}}, Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}},
		}
		b.put("pods", p)
	}
	return b
}

const proxied = "/api/v1/namespaces/default/"

func TestProxyToPods(t *testing.T) {
	b := proxyBench(t)
	for _, tt := range []struct {
		method, path string
		code         int
		want         string
	}{
		{"GET", "pods/web/proxy/", 200, "GET / host="},
		{"GET", "pods/web:8080/proxy/a/b?c=d&e", 200, "GET /a/b?c=d&e host="},
		{"GET", "pods/http:web:8080/proxy/a/", 200, "GET /a/ host="},
		{"GET", "pods/https:web:8443/proxy/a", 200, "GET /a host="},
		{"GET", "pods/web:80/proxy/a%20b", 200, `GET /a%20b host=`},
		{"GET", "pods/web/proxy/../../../secrets", 200, "GET /../../../secrets host="},
		{"POST", "pods/web/proxy/x", 200, `POST /x`},
		{"PUT", "pods/web/proxy/x", 200, `body="hello"`},
		{"PATCH", "pods/web/proxy/x", 200, `PATCH /x`},
		{"DELETE", "pods/web/proxy/x", 200, `DELETE /x`},
		{"OPTIONS", "pods/web/proxy/x", 200, `OPTIONS /x`},
		{"GET", "pods/web/proxy/x", 200, `mine="yes" for="127.0.0.1" uri="/api/v1/namespaces/default/pods/web/proxy/x"`},
		{"GET", "pods/web/proxy/failing", 418, "teapot"},
		{"GET", "pods/web/proxy/page", 200, `<a href="/api/v1/namespaces/default/pods/web/proxy/other">x</a><img src="near.png"><a href="http://elsewhere/y">`},
		{"GET", "pods/web/proxy/packed", 200, `<a href="/api/v1/namespaces/default/pods/web/proxy/other">x</a>`},
		{"GET", "pods/web/proxy/bomb", 503, `"message":"error trying to reach service: its links are not rewritten in more than 16777216 bytes of HTML"`},
		{"GET", "pods/web:81/proxy/", 503, `"message":"error trying to reach service: dial tcp 10.1.0.2:81: connect: connection refused","reason":"ServiceUnavailable"`},
		{"GET", "pods/web:http/proxy/", 400, "the port must be a number"},
		{"GET", "pods/web:99999/proxy/", 400, "the port must be a number"},
		{"GET", "pods/ftp:web:80/proxy/", 400, `invalid pod request \"ftp:web:80\"`},
		{"GET", "pods/none/proxy/", 404, `pods \"none\" not found`},
		{"GET", "pods/local:8080/proxy/", 400, "address not allowed"},
		{"GET", "pods/link:80/proxy/", 400, "address not allowed"},
		{"GET", "pods/ended:8080/proxy/", 400, "address not allowed"},
		{"GET", "pods/other:8080/proxy/", 503, "10.1.0.3:8080"}, // and not where its status says
		{"GET", "services/none/proxy/", 404, `services \"none\" not found`},
	} {
		code, _, body := b.do(tt.method, proxied+tt.path, "hello", "Authorization", "Bearer secret", "Impersonate-User", "root", "Impersonate-Group", "system:masters", "X-Mine", "yes")
		if code != tt.code || !strings.Contains(body, tt.want) {
			t.Errorf("%s %s: %d %s; want %d %s", tt.method, tt.path, code, body, tt.code, tt.want)
		}
		if strings.Contains(body, "secret") && !strings.Contains(body, "/secrets") || strings.Contains(body, `as="root"`) {
			t.Errorf("%s %s: the Pod sees who asks: %s", tt.method, tt.path, body)
		}
	}
	if n := b.server.watches.taken; n != 0 {
		t.Errorf("%d places are taken", n)
	}
}

func TestProxyRedirects(t *testing.T) {
	b := proxyBench(t)
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	for path, want := range map[string]string{
		"pods/web/proxy":       "301 " + proxied + "pods/web/proxy/",
		"pods/web/proxy?a=b":   "301 " + proxied + "pods/web/proxy/?a=b",
		"pods/web/proxy/moved": "302 " + proxied + "pods/web/proxy/page",
		"pods/web/proxy/away":  "302 http://169.254.169.254/secret", // the client's to follow, not ours
		"pods/web/proxy/cors":  "200 ",
	} {
		r, err := client.Get(b.http.URL + proxied + path)
		if err != nil {
			t.Fatal(err)
		}
		_ = r.Body.Close()
		if got := fmt.Sprint(r.StatusCode, " ", r.Header.Get("Location")); got != want {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
		if origin := r.Header.Get("Access-Control-Allow-Origin"); origin != "" {
			t.Errorf("%s: other origins are let in: %s", path, origin)
		}
	}
}

// TestProxyStreams: parts of an answer come as they are written, and an upgraded
// connection goes both ways.
func TestProxyStreams(t *testing.T) {
	b := proxyBench(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, b.http.URL+proxied+"pods/web/proxy/parts", nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(answer.Body).ReadString('\n'); err != nil || line != "first\n" {
		t.Errorf("%q %v", line, err)
	}
	_ = answer.Body.Close()

	conn, err := net.Dial("tcp", b.http.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "GET %spods/web/proxy/upgrade HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n", proxied)
	in := bufio.NewReader(conn)
	status, err := http.ReadResponse(in, nil)
	if err != nil || status.StatusCode != http.StatusSwitchingProtocols || status.Header.Get("Upgrade") != "echo" {
		t.Fatalf("%v %+v", err, status)
	}
	for _, line := range []string{"one\n", "two\n"} {
		if _, err := io.WriteString(conn, line); err != nil {
			t.Fatal(err)
		}
		if got, err := in.ReadString('\n'); err != nil || got != line {
			t.Errorf("%q %v, want %q", got, err, line)
		}
	}
}

func TestProxyToServices(t *testing.T) {
	b := proxyBench(t)
	service := func(name string, selector map[string]string, ports ...corev1.ServicePort) {
		for i := range ports {
			ports[i].Protocol = corev1.ProtocolTCP
		}
		b.put("services", &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}, Spec: corev1.ServiceSpec{Selector: selector, Ports: ports}})
	}
	web := map[string]string{"app": "web"}
	service("named", web, corev1.ServicePort{Name: "main", Port: 9000, TargetPort: intstr.FromString("http")}, corev1.ServicePort{Name: "bad", Port: 9001, TargetPort: intstr.FromString("none")})
	service("plain", web, corev1.ServicePort{Port: 9000, TargetPort: intstr.FromInt32(8080)})
	service("same", web, corev1.ServicePort{Port: 8080})
	service("nobody", map[string]string{"app": "nobody"}, corev1.ServicePort{Port: 8080})
	service("loopback", map[string]string{"app": "local"}, corev1.ServicePort{Port: 8080})
	service("manual", nil, corev1.ServicePort{Port: 8080})
	service("foreign", nil, corev1.ServicePort{Port: 8080})
	endpoints := func(name string, addresses ...corev1.EndpointAddress) {
		//lint:ignore SA1019 the kind is what is tested
		b.put("endpoints", &corev1.Endpoints{
			ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
			//lint:ignore SA1019 as above
			Subsets: []corev1.EndpointSubset{{Addresses: addresses, Ports: []corev1.EndpointPort{{Port: 8080}}}},
		})
	}
	of := func(namespace, name string) *corev1.ObjectReference {
		return &corev1.ObjectReference{Kind: "Pod", Namespace: namespace, Name: name}
	}
	endpoints("manual", corev1.EndpointAddress{IP: "10.1.0.2", TargetRef: of("default", "web")})
	endpoints("foreign", corev1.EndpointAddress{IP: "10.1.0.9", TargetRef: of("default", "web")}, corev1.EndpointAddress{IP: "127.0.0.1"},
		corev1.EndpointAddress{IP: "10.1.0.2", TargetRef: of("kube-system", "web")}, corev1.EndpointAddress{IP: "127.0.0.1", TargetRef: of("default", "local")})
	b.put("endpointslices", &discovery.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Namespace: "default", Name: "foreign-x", Labels: map[string]string{discovery.LabelServiceName: "foreign"}},
		AddressType: discovery.AddressTypeIPv4, Endpoints: []discovery.Endpoint{{Addresses: []string{"169.254.169.254"}}},
	})
	for path, want := range map[string]string{
		"services/named:main/proxy/x":      "200 GET /x",
		"services/named:9000/proxy/x":      "200 GET /x",
		"services/http:named:main/proxy/x": "200 GET /x",
		"services/plain/proxy/x":           "200 GET /x",
		"services/plain:9000/proxy/x":      "200 GET /x",
		"services/same/proxy/x":            "200 GET /x",
		"services/manual/proxy/x":          "200 GET /x",
		"services/named/proxy/x":           `503 no endpoints available for service \"named\"`, // no port without a name
		"services/named:bad/proxy/x":       `503 no endpoints available for service \"named\"`,
		"services/named:8080/proxy/x":      `503 no service port 8080 found for service \"named\"`,
		"services/nobody/proxy/x":          `503 no endpoints available for service \"nobody\"`,
		"services/loopback/proxy/x":        `503 no endpoints available for service \"loopback\"`,
		"services/foreign/proxy/x":         `503 no endpoints available for service \"foreign\"`,
		"services/x:y:z:/proxy/x":          `400 invalid service request`,
	} {
		code, _, body := b.do(http.MethodGet, proxied+path, "")
		wantCode, text, _ := strings.Cut(want, " ")
		if fmt.Sprint(code) != wantCode || !strings.Contains(body, text) {
			t.Errorf("%s: %d %s; want %s", path, code, body, want)
		}
	}
}

// TestWhoMayProxy: the verb is the method's.
func TestWhoMayProxy(t *testing.T) {
	b := proxyBench(t)
	b.grant("reader", "default", rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{"pods/proxy"}, Verbs: []string{"get"}})
	for request, want := range map[string]int{"GET pods/web": 200, "POST pods/web": 403, "PUT pods/web": 403, "DELETE pods/web": 403, "OPTIONS pods/web": 403, "GET services/web": 403} {
		method, path, _ := strings.Cut(request, " ")
		if code, body := b.as("reads", method, proxied+path+"/proxy/x"); code != want {
			t.Errorf("%s: %d %s", request, code, body)
		}
	}
	if code, body := b.as("all", http.MethodPost, proxied+"pods/web/proxy/x"); code != 200 || strings.Contains(body, "Bearer") {
		t.Errorf("%d %s", code, body)
	}
}
