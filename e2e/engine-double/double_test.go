package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func environment(pairs ...string) func(string) string {
	values := map[string]string{}
	for i := 0; i < len(pairs); i += 2 {
		values[pairs[i]] = pairs[i+1]
	}
	return func(name string) string { return values[name] }
}

func mustParse(t *testing.T, line string, pairs ...string) options {
	t.Helper()
	o, err := parseOptions(strings.Fields(line), environment(pairs...))
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func post(h http.Handler, path, body string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("POST", path, strings.NewReader(body)))
	return w
}

func get(h http.Handler, path string) string {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
	return w.Body.String()
}

// events returns the data of each event of a stream.
func events(body string) []string {
	var found []string
	for line := range strings.Lines(body) {
		if data, ok := strings.CutPrefix(strings.TrimSpace(line), "data: "); ok {
			found = append(found, data)
		}
	}
	return found
}

func TestCommandLine(t *testing.T) {
	o := mustParse(t, "/models/x --served-model-name a ns/a --port 9000 --tensor-parallel-size=2 --max_model_len 512 "+
		"--enforce-eager --unknown 3 --max-num-seqs 4 --shutdown-timeout 30 --enable-force-include-usage --host 127.0.0.1")
	if o.model != "/models/x" || strings.Join(o.names, " ") != "a ns/a" || o.address != "127.0.0.1:9000" ||
		o.tensorParallel != 2 || o.maxModelLen != 512 || o.maxNumSeqs != 4 || o.shutdownTimeout != 30*time.Second ||
		!o.forceIncludeUsage {
		t.Errorf("%+v", o)
	}
	if o := mustParse(t, "m -tp 4"); o.names[0] != "m" || o.address != ":8000" || o.tensorParallel != 4 {
		t.Errorf("%+v", o)
	}
}

func TestBadOptionsAreRefusedWithTheirName(t *testing.T) {
	for _, row := range []struct{ line, name, value, want string }{
		{"--port 1", "", "", "no model: expected it as the first argument"},
		{"m --port http", "", "", `--port is "http": expected a whole number`},
		{"m", "DOUBLE_BOOT_SECONDS", "soon", `DOUBLE_BOOT_SECONDS is "soon": expected a number, 0 or more`},
		{"m", "DOUBLE_TTFT_MILLIS", "-1", `DOUBLE_TTFT_MILLIS is "-1": expected a number, 0 or more`},
		{"m", "DOUBLE_FAULT", "reset_every=0", `DOUBLE_FAULT is "reset_every=0": expected reset_every=N with N of 1 or more`},
		{"m", "DOUBLE_FAULT", "melt", `DOUBLE_FAULT is "melt": expected crash_on_boot=MESSAGE, hang_on_boot, ` +
			`error_500_every=N or reset_every=N`},
	} {
		if _, err := parseOptions(strings.Fields(row.line), environment(row.name, row.value)); err == nil || err.Error() != row.want {
			t.Errorf("%s %s: %v, want %s", row.line, row.value, err, row.want)
		}
	}
}

func TestWholeAnswers(t *testing.T) {
	h := newHandler(newEngine(t.Context(), mustParse(t, "m --served-model-name a b", "DOUBLE_MAX_TOKENS", "3")))
	for _, row := range []struct{ name, path, body, want string }{
		{"a chat has a message and usage", "/v1/chat/completions",
			`{"model":"b","messages":[{"role":"user","content":"12345678"}]}`,
			`"choices":[{"finish_reason":"stop","index":0,"logprobs":null,"message":{"content":"The engine double","role":"assistant"}}]`},
		{"usage counts about four letters a token", "/v1/chat/completions",
			`{"messages":[{"role":"user","content":[{"type":"text","text":"12345678"}]}]}`,
			`"usage":{"completion_tokens":3,"prompt_tokens":2,"total_tokens":5}`},
		{"max_tokens is heeded", "/v1/completions", `{"model":"a","prompt":"x","max_tokens":2}`,
			`"choices":[{"finish_reason":"length","index":0,"logprobs":null,"text":"The engine"}]`},
		{"max_completion_tokens goes before max_tokens", "/v1/chat/completions",
			`{"max_completion_tokens":1,"max_tokens":9}`, `"content":"The"`},
		{"an unknown model is not found", "/v1/completions", `{"model":"c"}`,
			"{\"error\":{\"code\":404,\"message\":\"The model `c` does not exist.\",\"param\":\"model\",\"type\":\"NotFoundError\"}}"},
		{"a body that is no JSON is refused", "/v1/completions", `{`, `"the body is not a request: `},
		{"an answer that does not fit is refused", "/v1/completions", `{"max_tokens":9000}`,
			`"This model's maximum context length is 8192 tokens. However, you requested 9000 output tokens`},
	} {
		t.Run(row.name, func(t *testing.T) {
			if got := post(h, row.path, row.body).Body.String(); !strings.Contains(got, row.want) {
				t.Errorf("got %s\nwant %s", got, row.want)
			}
		})
	}
	if models := get(h, "/v1/models"); !strings.Contains(models, `"id":"a"`) || !strings.Contains(models, `"id":"b"`) {
		t.Error(models)
	}
}

func TestALongAnswerHasALengthAsVLLMsHave(t *testing.T) {
	server := httptest.NewServer(newHandler(newEngine(t.Context(), mustParse(t, "m", "DOUBLE_MAX_TOKENS", "2000"))))
	defer server.Close()
	response, err := http.Post(server.URL+"/v1/completions", "application/json", strings.NewReader(`{}`))
	if err != nil || response.ContentLength < 8000 {
		t.Error(response, err)
	}
}

func TestStreams(t *testing.T) {
	o := mustParse(t, "m", "DOUBLE_MAX_TOKENS", "2")
	h := newHandler(newEngine(t.Context(), o))
	chat := events(post(h, "/v1/chat/completions", `{"stream":true,"stream_options":{"include_usage":true}}`).Body.String())
	if len(chat) != 5 || !strings.Contains(chat[0], `"role":"assistant"`) || !strings.Contains(chat[1], `"content":"The"`) ||
		!strings.Contains(chat[2], `"finish_reason":"stop"`) || !strings.Contains(chat[3], `"completion_tokens":2`) ||
		!strings.Contains(chat[3], `"choices":[]`) || chat[4] != "[DONE]" {
		t.Error(chat)
	}
	plain := events(post(h, "/v1/completions", `{"stream":true}`).Body.String())
	if len(plain) != 3 || !strings.Contains(plain[0], `"text":"The"`) || strings.Contains(plain[1], "usage") {
		t.Error(plain)
	}
	o.forceIncludeUsage = true
	forced := events(post(newHandler(newEngine(t.Context(), o)), "/v1/completions", `{"stream":true}`).Body.String())
	if len(forced) != 4 || !strings.Contains(forced[2], `"usage"`) {
		t.Error(forced)
	}
}

func TestTokensComeAtTheirTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := mustParse(t, "m", "DOUBLE_TTFT_MILLIS", "300", "DOUBLE_TOKENS_PER_SECOND", "10", "DOUBLE_MAX_TOKENS", "8")
		h := newHandler(newEngine(t.Context(), o))
		start := time.Now()
		post(h, "/v1/completions", `{"prompt":"x"}`)
		if took := time.Since(start); took != time.Second {
			t.Errorf("0.3 s and 7 tokens of 0.1 s took %v", took)
		}
		metrics := get(h, "/metrics")
		for _, want := range []string{
			`vllm:time_to_first_token_seconds_bucket{engine="0",model_name="m",le="0.25"} 0`,
			`vllm:time_to_first_token_seconds_bucket{engine="0",model_name="m",le="0.5"} 1`,
			`vllm:time_to_first_token_seconds_sum{engine="0",model_name="m"} 0.3`,
			`vllm:inter_token_latency_seconds_count{engine="0",model_name="m"} 7`,
			`vllm:e2e_request_latency_seconds_sum{engine="0",model_name="m"} 1`,
			`vllm:generation_tokens_total{engine="0",model_name="m"} 8`,
			`vllm:prompt_tokens_total{engine="0",model_name="m"} 1`,
			`vllm:request_success_total{engine="0",finished_reason="stop",model_name="m"} 1`,
		} {
			if !strings.Contains(metrics, want+"\n") {
				t.Errorf("no %s in\n%s", want, metrics)
			}
		}
	})
}

func TestMoreThanMaxNumSeqsWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHandler(newEngine(t.Context(), mustParse(t, "m --max-num-seqs 2", "DOUBLE_TTFT_MILLIS", "1000")))
		for range 3 {
			go post(h, "/v1/completions", `{}`)
		}
		synctest.Wait()
		metrics := get(h, "/metrics")
		for _, want := range []string{
			`vllm:num_requests_running{engine="0",model_name="m"} 2`, `vllm:num_requests_waiting{engine="0",model_name="m"} 1`,
			`vllm:kv_cache_usage_perc{engine="0",model_name="m"} 1`,
		} {
			if !strings.Contains(metrics, want+"\n") {
				t.Errorf("no %s in\n%s", want, metrics)
			}
		}
		time.Sleep(2 * time.Second)
	})
}

func TestDrain(t *testing.T) {
	for _, row := range []struct {
		name    string
		timeout time.Duration
		want    string
	}{
		{"a request that ends in time is finished", 5 * time.Second, `"finish_reason":"stop"`},
		{"one that takes too long is cut short", time.Second, `"finish_reason":"abort"`},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				life, end := context.WithCancel(t.Context())
				e := newEngine(life, mustParse(t, "m", "DOUBLE_TOKENS_PER_SECOND", "5"))
				h := newHandler(e)
				answer := make(chan string)
				go func() { answer <- post(h, "/v1/completions", `{"stream":true}`).Body.String() }()
				synctest.Wait()
				go func() { e.drain(row.timeout); end() }()
				synctest.Wait()
				if late := post(h, "/v1/completions", `{}`); late.Code != http.StatusInternalServerError {
					t.Errorf("a request while it drains got %d", late.Code)
				}
				if got := <-answer; !strings.Contains(got, row.want) || !strings.HasSuffix(got, "data: [DONE]\n\n") {
					t.Error(got)
				}
			})
		})
	}
}

func TestEveryNthRequestFails(t *testing.T) {
	h := newHandler(newEngine(t.Context(), mustParse(t, "m", "DOUBLE_FAULT", "error_500_every=3")))
	var codes []int
	for range 6 {
		codes = append(codes, post(h, "/v1/completions", `{}`).Code)
	}
	if got, _ := json.Marshal(codes); string(got) != "[200,200,500,200,200,500]" {
		t.Error(string(got))
	}
	if metrics := get(h, "/metrics"); !strings.Contains(metrics, `finished_reason="error",model_name="m"} 2`) {
		t.Error(metrics)
	}
}

func TestEveryNthConnectionBreaks(t *testing.T) {
	h := newHandler(newEngine(t.Context(), mustParse(t, "m", "DOUBLE_FAULT", "reset_every=2", "DOUBLE_MAX_TOKENS", "4")))
	server := httptest.NewServer(h)
	defer server.Close()
	ask := func(body string) (string, error) {
		response, err := http.Post(server.URL+"/v1/completions", "application/json", strings.NewReader(body))
		if err != nil {
			return "", err
		}
		defer response.Body.Close()
		data, err := io.ReadAll(response.Body)
		return string(data), err
	}
	if _, err := ask(`{}`); err != nil {
		t.Error("the first request:", err)
	}
	if body, err := ask(`{}`); err == nil {
		t.Error("the second request was answered:", body)
	}
	if body, err := ask(`{"stream":true}`); err != nil || !strings.Contains(body, "[DONE]") {
		t.Error("the third request:", body, err)
	}
	if body, err := ask(`{"stream":true}`); err == nil || strings.Contains(body, "[DONE]") {
		t.Error("the fourth request was answered:", body)
	}
}

func TestBoot(t *testing.T) {
	listening := func(address string) bool {
		connection, err := net.Dial("tcp", address)
		if err == nil {
			connection.Close()
		}
		return err == nil
	}
	t.Run("it fails in vLLM's words", func(t *testing.T) {
		var log strings.Builder
		err := run(t.Context(), mustParse(t, "m", "DOUBLE_FAULT", "crash_on_boot=no memory left"), &log)
		if err == nil || !strings.HasPrefix(err.Error(), "RuntimeError: Engine core initialization failed. See root cause") {
			t.Error(err)
		}
		if !strings.Contains(log.String(), "[core.py:1510] RuntimeError: no memory left\n") {
			t.Error(log.String())
		}
	})
	t.Run("the time is waited for before the crash", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			start := time.Now()
			o := mustParse(t, "m", "DOUBLE_BOOT_SECONDS", "2.5", "DOUBLE_FAULT", "crash_on_boot=x")
			if err := run(t.Context(), o, io.Discard); err == nil || time.Since(start) != 2500*time.Millisecond {
				t.Error(err, time.Since(start))
			}
		})
	})
	for _, hanging := range []string{"hang_on_boot", ""} {
		t.Run("it does not listen before it is up, and SIGTERM ends it "+hanging, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, stop := context.WithCancel(t.Context())
				o := mustParse(t, "m --host 127.0.0.1 --port 1", "DOUBLE_BOOT_SECONDS", "60", "DOUBLE_FAULT", hanging)
				done := make(chan error)
				go func() { done <- run(ctx, o, io.Discard) }()
				synctest.Wait()
				if listening(o.address) {
					t.Error("it listens")
				}
				stop()
				if err := <-done; err != nil {
					t.Error(err)
				}
			})
		})
	}
	t.Run("it serves until it is told to end", func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		reader, writer := io.Pipe()
		done := make(chan error)
		go func() {
			err := run(ctx, mustParse(t, "m --host 127.0.0.1 --port 0"), writer)
			writer.CloseWithError(errors.New("ended"))
			done <- err
		}()
		var address string
		lines := bufio.NewScanner(reader)
		for address == "" && lines.Scan() {
			_, address, _ = strings.Cut(lines.Text(), "listening on ")
		}
		go io.Copy(io.Discard, reader)
		response, err := http.Get("http://" + address + "/health")
		if err != nil || response.StatusCode != http.StatusOK {
			t.Error(response, err)
		}
		http.DefaultClient.CloseIdleConnections()
		stop()
		if err := <-done; err != nil || listening(address) {
			t.Error("after the end:", err)
		}
	})
}
