// SPDX-License-Identifier: Apache-2.0

package streaming

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// echo serves sessions that send the input back, and end with a failure.
func echo(t *testing.T, wanted Wanted) string {
	t.Helper()
	var s Server
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		session, err := s.Accept(w, r, wanted)
		if err != nil {
			return
		}
		if session.Stdin != nil {
			_, _ = io.Copy(session.Stdout, session.Stdin)
		}
		if session.Resize != nil {
			for size := range session.Resize {
				fmt.Fprintf(session.Stdout, "%dx%d", size.Width, size.Height)
				break
			}
		}
		session.End(&metav1.Status{Status: metav1.StatusFailure, Message: "it failed"})
	}))
	t.Cleanup(server.Close)
	return "ws" + strings.TrimPrefix(server.URL, "http")
}

func dial(t *testing.T, url string, header http.Header, protocols ...string) *websocket.Conn {
	t.Helper()
	dialer := websocket.Dialer{Subprotocols: protocols}
	conn, r, err := dialer.DialContext(t.Context(), url, header)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	t.Cleanup(func() { conn.Close() })
	return conn
}

// messages are all that comes, by channel, decoded; the close frame must be normal.
func messages(t *testing.T, conn *websocket.Conn, text bool) map[byte]string {
	t.Helper()
	out := map[byte]string{}
	for {
		_, m, err := conn.ReadMessage()
		if websocket.IsCloseError(err, websocket.CloseNormalClosure) {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		channel, p := m[0], m[1:]
		if text {
			channel -= '0'
			if p, err = base64.StdEncoding.DecodeString(string(p)); err != nil {
				t.Fatal(err)
			}
		}
		out[channel] += string(p)
	}
}

func TestCloseSignalOfV5(t *testing.T) {
	conn := dial(t, echo(t, Wanted{Stdin: true, Stdout: true}), nil, "v6.channel.k8s.io", "v5.channel.k8s.io", "v4.channel.k8s.io")
	if got := conn.Subprotocol(); got != "v5.channel.k8s.io" {
		t.Errorf("subprotocol %q", got)
	}
	for _, m := range []string{"\x00some", "\x00 input", "", "\x07nonsense", "\xff\x04", "\xff\x00", "\x00too late"} {
		if err := conn.WriteMessage(websocket.BinaryMessage, []byte(m)); err != nil {
			t.Fatal(err)
		}
	}
	got := messages(t, conn, false)
	var status metav1.Status
	if err := json.Unmarshal([]byte(got[errorChannel]), &status); err != nil || status.Message != "it failed" || got[stdoutChannel] != "some input" {
		t.Errorf("%v, %q", err, got)
	}
}

// Before v5 there is no close signal, and before v4 no status in JSON.
func TestOlderWebSockets(t *testing.T) {
	for protocol, want := range map[string]struct {
		text  bool
		error string
	}{
		"v4.channel.k8s.io":        {false, `"message":"it failed"`},
		"v4.base64.channel.k8s.io": {true, `"message":"it failed"`},
		"channel.k8s.io":           {false, "it failed"},
		"base64.channel.k8s.io":    {true, "it failed"},
	} {
		t.Run(protocol, func(t *testing.T) {
			conn := dial(t, echo(t, Wanted{Stdout: true, TTY: true}), nil, protocol)
			m := "\x04{\"Width\":80,\"Height\":24}"
			kind := websocket.BinaryMessage
			if want.text {
				kind, m = websocket.TextMessage, "4"+base64.StdEncoding.EncodeToString([]byte(m[1:]))
			}
			if err := conn.WriteMessage(kind, []byte(m)); err != nil {
				t.Fatal(err)
			}
			got := messages(t, conn, want.text)
			if got[stdoutChannel] != "80x24" || !strings.Contains(got[errorChannel], want.error) {
				t.Errorf("%q", got)
			}
		})
	}
}

func TestRequestsThatAreNoSession(t *testing.T) {
	url := echo(t, Wanted{Stdout: true})
	for name, tt := range map[string]struct {
		header    http.Header
		protocols []string
		code      int
	}{
		"another origin":  {http.Header{"Origin": {"https://evil.example"}}, []string{"v5.channel.k8s.io"}, http.StatusForbidden},
		"other protocols": {nil, []string{"chat", "soap"}, http.StatusForbidden},
	} {
		dialer := websocket.Dialer{Subprotocols: tt.protocols}
		_, r, err := dialer.DialContext(t.Context(), url, tt.header)
		if err == nil || r == nil || r.StatusCode != tt.code {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, header := range map[string]http.Header{
		"no upgrade":   {},
		"no protocol":  {"Connection": {"Upgrade"}, "Upgrade": {"SPDY/3.1"}},
		"another kind": {"Connection": {"Upgrade"}, "Upgrade": {"h2c"}},
	} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http"+strings.TrimPrefix(url, "ws"), nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header = header
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		if answer.StatusCode != http.StatusBadRequest {
			t.Errorf("%s: %s", name, answer.Status)
		}
	}
}

// A client that is gone ends the input, and output for it is dropped.
func TestClientThatIsGone(t *testing.T) {
	var s Server
	done := make(chan error, 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		session, err := s.Accept(w, r, Wanted{Stdin: true, Stdout: true})
		if err != nil {
			done <- err
			return
		}
		_, err = io.Copy(io.Discard, session.Stdin)
		<-session.Context().Done()
		for range 100 {
			if _, werr := session.Stdout.Write(make([]byte, 100_000)); werr != nil {
				err = werr
			}
		}
		session.End(&metav1.Status{Status: metav1.StatusSuccess})
		done <- err
	}))
	defer server.Close()
	conn := dial(t, "ws"+strings.TrimPrefix(server.URL, "http"), nil, "v5.channel.k8s.io")
	if err := conn.WriteMessage(websocket.BinaryMessage, []byte("\x00x")); err != nil {
		t.Fatal(err)
	}
	conn.Close()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// hijacked is the writer of a request over a connection.
type hijacked struct {
	http.ResponseWriter
	conn net.Conn
}

func (h hijacked) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return h.conn, bufio.NewReadWriter(bufio.NewReader(h.conn), bufio.NewWriter(h.conn)), nil
}

// TestClientThatTakesNothing ends a session while a write to its client is under way,
// which goes on for as long as the client likes.
func TestClientThatTakesNothing(t *testing.T) {
	here, there := net.Pipe()
	defer there.Close()
	r := httptest.NewRequest("GET", "/", nil)
	r.Header = http.Header{
		"Connection": {"Upgrade"}, "Upgrade": {"websocket"}, "Sec-Websocket-Version": {"13"},
		"Sec-Websocket-Key": {"MTIzNDU2Nzg5MDEyMzQ1Ng=="}, "Sec-Websocket-Protocol": {protocolV5},
	}
	output := make([]byte, 1000)
	taking := make(chan struct{})
	go func() { // takes the answer, the message that says that the session stands, and half of the next
		defer close(taking)
		taken := bufio.NewReaderSize(there, 16)
		if answer, err := http.ReadResponse(taken, r); err == nil {
			_, _ = io.ReadFull(taken, make([]byte, len("\x82\x01\x01")+len(output)/2))
			_ = answer.Body.Close()
		}
	}()
	var s Server
	session, err := s.Accept(hijacked{httptest.NewRecorder(), here}, r, Wanted{Stdout: true})
	if err != nil {
		t.Fatal(err)
	}
	session.wire.(*socket).linger = time.Millisecond
	go func() { _, _ = session.Stdout.Write(output) }()
	<-taking
	session.End(&metav1.Status{Status: metav1.StatusSuccess})
}

func TestSizesThatNobodyTakes(t *testing.T) {
	s := newSizes()
	s.read(strings.NewReader(`{"Width":1,"Height":2}{"Width":3,"Height":4}{"Width":5,"Height":6} rubbish`))
	s.close()
	if size := <-s.ch; size != (Size{5, 6}) {
		t.Errorf("the newest size is %v", size)
	}
}

// TestSizesAreBounded: what never comes to its end is not kept, but taken.
func TestSizesAreBounded(t *testing.T) {
	const long = 1 << 20
	for name, text := range map[string]string{"a name": `{"`, "blanks": " "} {
		var before, after runtime.MemStats
		rest := strings.NewReader(text + strings.Repeat(" ", long))
		runtime.ReadMemStats(&before)
		newSizes().read(rest)
		runtime.ReadMemStats(&after)
		if n := after.TotalAlloc - before.TotalAlloc; n > long/4 {
			t.Errorf("%s: %d bytes were allocated for %d", name, n, long)
		}
		if rest.Len() > 0 {
			t.Errorf("%s: %d bytes were not taken", name, rest.Len())
		}
	}
}
