package main

import (
	"fmt"
	"io"
	"sync"
	"time"
)

// metrics are the part of vLLM's that load and latency are read from, under vLLM's names.
type metrics struct {
	model    string // label model_name, written out
	labels   string // all labels that every metric has
	capacity int    // sequences
	started  time.Time

	mutex                    sync.Mutex
	running, waiting         int
	promptTokens, generation int
	finished                 map[ending]int
	ttft, interToken, e2e    histogram // seconds
	queued                   histogram
}

// The bounds that vLLM 0.32 has by default, in seconds.
var (
	ttftBounds = []float64{0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20,
		40, 80, 160, 640, 2560}
	interTokenBounds = []float64{0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5, 5, 7.5, 10,
		20, 40, 80}
	requestBounds = []float64{0.3, 0.5, 0.8, 1, 1.5, 2, 2.5, 5, 10, 15, 20, 30, 40, 50, 60, 120, 240, 480, 960,
		1920, 7680}
)

func newMetrics(model string, capacity int, started time.Time) *metrics {
	return &metrics{
		model:      fmt.Sprintf("model_name=%q", model),
		labels:     fmt.Sprintf("engine=\"0\",model_name=%q", model),
		capacity:   max(1, capacity),
		started:    started,
		finished:   map[ending]int{},
		ttft:       newHistogram(ttftBounds),
		interToken: newHistogram(interTokenBounds),
		e2e:        newHistogram(requestBounds),
		queued:     newHistogram(requestBounds),
	}
}

func (m *metrics) wait() {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	m.waiting++
}

func (m *metrics) leaveQueue(how ending) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	m.waiting--
	m.finished[how]++
}

func (m *metrics) start(queued time.Duration, promptTokens int) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	m.waiting--
	m.running++
	m.promptTokens += promptTokens
	m.queued.observe(queued)
}

func (m *metrics) token(first bool, sinceArrival, sinceLast time.Duration) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	m.generation++
	if first {
		m.ttft.observe(sinceArrival)
	} else {
		m.interToken.observe(sinceLast)
	}
}

func (m *metrics) end(how ending, sinceArrival time.Duration) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	m.running--
	m.finished[how]++
	m.e2e.observe(sinceArrival)
}

// write prints the metrics in Prometheus's text format.
func (m *metrics) write(w io.Writer) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	family := func(name, kind, help string) { fmt.Fprintf(w, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, kind) }
	single := func(name, kind, help string, value float64) {
		family(name, kind, help)
		fmt.Fprintf(w, "%s{%s} %v\n", name, m.labels, value)
	}
	family("process_start_time_seconds", "gauge", "Start time of the process since unix epoch in seconds.")
	fmt.Fprintf(w, "process_start_time_seconds %.3f\n", float64(m.started.UnixMilli())/1000)
	single("vllm:num_requests_running", "gauge", "Number of requests in model execution batches.", float64(m.running))
	single("vllm:num_requests_waiting", "gauge", "Number of requests waiting to be processed.", float64(m.waiting))
	single("vllm:kv_cache_usage_perc", "gauge", "KV-cache usage. 1 means 100 percent usage.",
		float64(m.running)/float64(m.capacity))
	single("vllm:num_preemptions_total", "counter", "Cumulative number of preemption from the engine.", 0)
	single("vllm:prompt_tokens_total", "counter", "Number of prefill tokens processed.", float64(m.promptTokens))
	single("vllm:generation_tokens_total", "counter", "Number of generation tokens processed.", float64(m.generation))

	family("vllm:request_success_total", "counter", "Count of successfully processed requests.")
	for _, how := range []ending{endStop, endLength, endAbort, endError} {
		fmt.Fprintf(w, "vllm:request_success_total{engine=\"0\",finished_reason=%q,%s} %d\n",
			how, m.model, m.finished[how])
	}
	for _, one := range []struct {
		name, help string
		histogram  histogram
	}{
		{"vllm:time_to_first_token_seconds", "Histogram of time to first token in seconds.", m.ttft},
		{"vllm:inter_token_latency_seconds", "Histogram of inter-token latency in seconds.", m.interToken},
		{"vllm:e2e_request_latency_seconds", "Histogram of e2e request latency in seconds.", m.e2e},
		{"vllm:request_queue_time_seconds", "Histogram of time spent in WAITING phase for request.", m.queued},
	} {
		family(one.name, "histogram", one.help)
		one.histogram.write(w, one.name, m.labels)
	}
}

// histogram counts observations by upper bound, each in its first bucket only; write adds them up.
type histogram struct {
	bounds []float64
	counts []int // one more than bounds: what is above all of them
	sum    float64
}

func newHistogram(bounds []float64) histogram {
	return histogram{bounds: bounds, counts: make([]int, len(bounds)+1)}
}

func (h *histogram) observe(duration time.Duration) {
	seconds, index := duration.Seconds(), 0
	for index < len(h.bounds) && seconds > h.bounds[index] {
		index++
	}
	h.counts[index]++
	h.sum += seconds
}

func (h histogram) write(w io.Writer, name, labels string) {
	total := 0
	for index, count := range h.counts {
		total += count
		bound := "+Inf"
		if index < len(h.bounds) {
			bound = fmt.Sprint(h.bounds[index])
		}
		fmt.Fprintf(w, "%s_bucket{%s,le=%q} %d\n", name, labels, bound, total)
	}
	fmt.Fprintf(w, "%s_count{%s} %d\n%s_sum{%s} %v\n", name, labels, total, name, labels, h.sum)
}
