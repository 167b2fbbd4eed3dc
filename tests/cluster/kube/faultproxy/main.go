// SPDX-License-Identifier: Apache-2.0

// Faultproxy stands in front of an API server and lets things go wrong by rules, the same ones for the same
// seed. It speaks HTTP/2 and HTTP/1.1 over TLS to both sides. Rules come, and counts go, over HTTP on a unix
// socket:
//
//	POST /rules      one rule per line, see rule.go; they replace all there were
//	DELETE /rules
//	GET /counts      requests seen and faults done, by rule, as JSON
//	POST /cut        all connections are reset now
//	POST /half-close their sending side is closed, the proxy goes on reading
//	POST /freeze     nothing passes on them any more, and they stay; new ones work
//
// The certificate is read again for each connection, as an API server does when it is renewed.
// Clients have to use tokens: a client certificate ends at the proxy.
package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"sync"
	"time"
)

const rulesMax = 64 << 10

type connectionKey struct{}

type faultKey struct{}

type proxy struct {
	forward *httputil.ReverseProxy
	rules   *ruleSet
	mutex   sync.Mutex
	open    map[net.Conn]struct{}
}

func main() {
	listen := flag.String("listen", "", "address and port to serve")
	control := flag.String("control", "", "unix socket for rules and counts")
	target := flag.String("target", "", "URL of the API server")
	ca := flag.String("ca", "", "certificate authority of the API server")
	certificate := flag.String("certificate", "", "certificate to serve")
	key := flag.String("key", "", "its key")
	seed := flag.Uint64("seed", 1, "seed of what is by chance")
	flag.Parse()
	log.SetFlags(log.Ltime | log.Lmicroseconds)
	if err := serve(*listen, *control, *target, *ca, *certificate, *key, *seed); err != nil {
		fmt.Fprintln(os.Stderr, "faultproxy:", err)
		os.Exit(1)
	}
}

func serve(listen, control, target, ca, certificate, key string, seed uint64) error {
	address, err := url.Parse(target)
	if err != nil {
		return err
	}
	pem, err := os.ReadFile(ca)
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return fmt.Errorf("no certificate in %s", ca)
	}
	p := &proxy{rules: newRuleSet(seed), open: map[net.Conn]struct{}{}}
	p.forward = &httputil.ReverseProxy{
		Rewrite:        func(r *httputil.ProxyRequest) { r.SetURL(address) },
		FlushInterval:  -1,
		ModifyResponse: spoil,
		Transport: &http.Transport{
			TLSClientConfig:    &tls.Config{RootCAs: roots},
			ForceAttemptHTTP2:  true,
			DisableCompression: true,
		},
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) {
			panic(http.ErrAbortHandler) // no answer
		},
	}
	if err := p.serveControl(control); err != nil {
		return err
	}
	server := &http.Server{
		Addr:      listen,
		Handler:   http.HandlerFunc(p.handle),
		ErrorLog:  log.New(io.Discard, "", 0),
		ConnState: p.track,
		TLSConfig: &tls.Config{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			pair, err := tls.LoadX509KeyPair(certificate, key)
			return &pair, err
		}},
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, connectionKey{}, c)
		},
	}
	listener, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}
	return server.ServeTLS(gates{listener}, "", "")
}

func (p *proxy) track(connection net.Conn, state http.ConnState) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	switch state {
	case http.StateNew:
		p.open[connection] = struct{}{}
	case http.StateClosed:
		delete(p.open, connection)
	}
}

// handle asks the rules, then does what they say or forwards the request.
func (p *proxy) handle(w http.ResponseWriter, r *http.Request) {
	fault := p.rules.choose(r)
	if fault.delay > 0 {
		wait(r, fault.delay)
	}
	switch fault.action {
	case actStatus:
		refuse(w, fault)
		return
	case actReset:
		panic(http.ErrAbortHandler)
	case actDisconnect:
		reset(r.Context().Value(connectionKey{}).(net.Conn))
		panic(http.ErrAbortHandler)
	case actHang:
		<-r.Context().Done()
		return
	case actGoaway: // as the API server does it with --goaway-chance
		w.Header().Set("Connection", "close")
	}
	p.forward.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), faultKey{}, fault)))
}

func wait(r *http.Request, duration time.Duration) {
	select {
	case <-time.After(duration):
	case <-r.Context().Done():
	}
}

func gateOf(connection net.Conn) *gate {
	if secure, ok := connection.(*tls.Conn); ok {
		connection = secure.NetConn()
	}
	return connection.(*gate)
}

// reset closes a connection so that the peer gets RST.
func reset(connection net.Conn) {
	g := gateOf(connection)
	if tcp, ok := g.Conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = g.Close()
}

// refuse answers as the API server does when it refuses.
func refuse(w http.ResponseWriter, fault fault) {
	reasons := map[int]string{409: "Conflict", 410: "Expired", 429: "TooManyRequests",
		500: "InternalError", 503: "ServiceUnavailable", 504: "Timeout", 401: "Unauthorized",
		403: "Forbidden", 404: "NotFound"}
	details := map[string]any{}
	if fault.retryAfter >= 0 {
		w.Header().Set("Retry-After", fmt.Sprint(fault.retryAfter))
		details["retryAfterSeconds"] = fault.retryAfter
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(fault.status)
	_ = json.NewEncoder(w).Encode(map[string]any{
		"kind": "Status", "apiVersion": "v1", "metadata": map[string]any{}, "status": "Failure",
		"message": "a fault of the test", "reason": reasons[fault.status], "code": fault.status,
		"details": details})
}

// spoil is asked about each answer of the API server.
func spoil(response *http.Response) error {
	fault, _ := response.Request.Context().Value(faultKey{}).(fault)
	switch fault.action {
	case actDrop: // the request has had its effect
		return errors.New("the answer is dropped")
	case actCut, actStall, actGone, actTorn:
		response.Header.Del("Content-Length")
		response.ContentLength = -1
		response.Body = &shortened{Closer: response.Body, lines: bufio.NewReader(response.Body),
			request: response.Request, fault: fault, left: fault.bytes}
	}
	return nil
}

// shortened is an answer that goes on, line by line, until it has had `left` bytes; then comes the fault.
type shortened struct {
	io.Closer
	lines   *bufio.Reader
	request *http.Request
	fault   fault
	left    int
	pending []byte
	err     error
}

const expired = `{"type":"ERROR","object":{"kind":"Status","apiVersion":"v1","metadata":{},` +
	`"status":"Failure","message":"too old resource version","reason":"Expired","code":410}}` + "\n"

func (s *shortened) Read(buffer []byte) (int, error) {
	for len(s.pending) == 0 && s.err == nil {
		s.next()
	}
	if len(s.pending) == 0 {
		if s.fault.action == actStall && s.err == io.EOF { // open, and nothing comes any more
			<-s.request.Context().Done()
		}
		return 0, s.err
	}
	count := copy(buffer, s.pending)
	s.pending = s.pending[count:]
	return count, nil
}

// next reads a line and decides what of it is passed on.
func (s *shortened) next() {
	line, err := s.lines.ReadBytes('\n')
	s.pending, s.err = line, err
	s.left -= len(line)
	if s.left >= 0 || err != nil {
		return
	}
	switch s.fault.action {
	case actTorn: // in the middle of an event
		s.pending, s.err = line[:len(line)/2], io.ErrUnexpectedEOF
	case actGone:
		s.pending, s.err = []byte(expired), io.EOF
	default:
		s.pending, s.err = nil, io.EOF
	}
}

// ---- control ----

func (p *proxy) forAll(do func(net.Conn)) http.HandlerFunc {
	return func(http.ResponseWriter, *http.Request) {
		p.mutex.Lock()
		defer p.mutex.Unlock()
		for connection := range p.open {
			do(connection)
		}
	}
}

func (p *proxy) serveControl(path string) error {
	_ = os.Remove(path)
	listener, err := net.Listen("unix", path)
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /rules", func(w http.ResponseWriter, r *http.Request) {
		text, err := io.ReadAll(io.LimitReader(r.Body, rulesMax))
		if err == nil {
			err = p.rules.replace(string(text))
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
		}
	})
	mux.HandleFunc("DELETE /rules", func(http.ResponseWriter, *http.Request) {
		_ = p.rules.replace("")
	})
	mux.HandleFunc("GET /counts", func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(p.rules.counts())
	})
	mux.HandleFunc("POST /cut", p.forAll(reset))
	mux.HandleFunc("POST /half-close", p.forAll(func(c net.Conn) { gateOf(c).halfClose() }))
	mux.HandleFunc("POST /freeze", p.forAll(func(c net.Conn) { gateOf(c).frozen.Store(true) }))
	go func() { log.Fatal(http.Serve(listener, mux)) }()
	return nil
}
