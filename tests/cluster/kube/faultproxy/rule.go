// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"net/http"
	"path"
	"strconv"
	"strings"
	"sync"
	"time"
)

// A rule is a line:
//
//	VERB PATH [nth=N] [hits=N] [chance=PERCENT] [delay=MS] [bytes=N] [retry-after=S] [token=END] [-> ACTION]
//
// VERB is an HTTP method, WATCH, or *. PATH is the path of the request, `*` in it stands for anything but a
// slash, `...` at its end for anything. token= is the end of the bearer token that it is for. Rules are asked in order; the first that matches and acts decides.
//
//	STATUS      an HTTP status, such as 429, as the API server would send it
//	reset       the stream is reset; disconnect: the connection is
//	hang        no answer; drop: the request is carried out, its answer lost
//	cut         the answer ends in good order after `bytes`; stall: it stays open, silent
//	goaway      it is answered, and the connection takes no more requests
//	gone        an ERROR event with code 410 after `bytes`; torn: it ends inside of an event
//	(none)      only the delay
type rule struct {
	text    string
	verb    string
	path    string
	token   string
	nth     int
	hits    int
	chance  float64
	fault   fault
	matched int
	done    int
}

type action int

const (
	actNone action = iota
	actStatus
	actReset
	actDisconnect
	actHang
	actDrop
	actCut
	actStall
	actGone
	actTorn
	actGoaway
)

var actions = map[string]action{"reset": actReset, "disconnect": actDisconnect, "hang": actHang,
	"drop": actDrop, "cut": actCut, "stall": actStall, "gone": actGone, "torn": actTorn,
	"goaway": actGoaway}

type fault struct {
	action     action
	status     int
	retryAfter int
	bytes      int
	delay      time.Duration
}

type ruleSet struct {
	mutex    sync.Mutex
	seed     uint64
	random   *rand.Rand
	rules    []*rule
	requests map[string]int
}

func newRuleSet(seed uint64) *ruleSet {
	s := &ruleSet{seed: seed, requests: map[string]int{}}
	_ = s.replace("")
	return s
}

func (s *ruleSet) replace(text string) error {
	var rules []*rule
	lines := bufio.NewScanner(strings.NewReader(text))
	for lines.Scan() {
		line := strings.TrimSpace(lines.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		one, err := parseRule(line)
		if err != nil {
			return fmt.Errorf("%q: %w", line, err)
		}
		rules = append(rules, one)
	}
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.rules = rules
	s.random = rand.New(rand.NewPCG(s.seed, 0))
	return nil
}

func parseRule(line string) (*rule, error) {
	words := strings.Fields(line)
	if len(words) < 2 {
		return nil, fmt.Errorf("a rule has a verb and a path")
	}
	one := &rule{text: line, verb: words[0], path: words[1], fault: fault{retryAfter: -1}}
	for i, word := range words[2:] {
		if word == "->" {
			if len(words) != i+4 {
				return nil, fmt.Errorf("one action follows ->")
			}
			return one, one.fault.parseAction(words[i+3])
		}
		name, value, _ := strings.Cut(word, "=")
		if name == "token" {
			one.token = value
			continue
		}
		number, err := strconv.Atoi(value)
		if err != nil || number < 0 {
			return nil, fmt.Errorf("no number: %q", word)
		}
		switch name {
		case "nth":
			one.nth = number
		case "hits":
			one.hits = number
		case "chance":
			one.chance = float64(number) / 100
		case "delay":
			one.fault.delay = time.Duration(number) * time.Millisecond
		case "bytes":
			one.fault.bytes = number
		case "retry-after":
			one.fault.retryAfter = number
		default:
			return nil, fmt.Errorf("no such word: %q", name)
		}
	}
	return one, nil
}

func (f *fault) parseAction(word string) error {
	if status, err := strconv.Atoi(word); err == nil && status >= 400 && status < 600 {
		f.action = actStatus
		f.status = status
		return nil
	}
	action, ok := actions[word]
	if !ok {
		return fmt.Errorf("no such action: %q", word)
	}
	f.action = action
	return nil
}

func verbOf(r *http.Request) string {
	if watch := r.URL.Query().Get("watch"); watch == "true" || watch == "1" {
		return "WATCH"
	}
	return r.Method
}

func (one *rule) matches(verb string, r *http.Request) bool {
	place := r.URL.Path
	if one.verb != "*" && one.verb != verb {
		return false
	}
	if !strings.HasSuffix(r.Header.Get("Authorization"), one.token) {
		return false
	}
	if prefix, ok := strings.CutSuffix(one.path, "..."); ok {
		return strings.HasPrefix(place, prefix)
	}
	found, err := path.Match(one.path, place)
	return found && err == nil
}

// choose counts the request and returns what is to go wrong with it.
func (s *ruleSet) choose(r *http.Request) fault {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	verb := verbOf(r)
	s.requests[verb]++
	for _, one := range s.rules {
		if !one.matches(verb, r) {
			continue
		}
		one.matched++
		hits := one.hits
		if one.nth > 0 && hits == 0 {
			hits = 1
		}
		if one.matched < one.nth || (hits > 0 && one.done >= hits) {
			continue
		}
		if one.chance > 0 && s.random.Float64() >= one.chance {
			continue
		}
		one.done++
		return one.fault
	}
	return fault{}
}

func (s *ruleSet) counts() map[string]any {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	rules := map[string]int{}
	for _, one := range s.rules {
		rules[one.text] = one.done
	}
	requests := map[string]int{}
	for verb, count := range s.requests {
		requests[verb] = count
	}
	return map[string]any{"requests": requests, "faults": rules}
}
