package main

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// decoded is the JSON object in a body.
func decoded(t *testing.T, body string) object {
	t.Helper()
	var found object
	if err := json.Unmarshal([]byte(body), &found); err != nil {
		t.Fatalf("%v in %s", err, body)
	}
	return found
}

// shown is a value as JSON, for comparing.
func shown(value any) string {
	data, _ := json.Marshal(value)
	return string(data)
}

// upload is a form with a file of this many bytes.
func upload(size int, fields ...string) *http.Request {
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	file, _ := form.CreateFormFile("file", "speech.wav")
	_, _ = file.Write(make([]byte, size))
	for i := 0; i < len(fields); i += 2 {
		_ = form.WriteField(fields[i], fields[i+1])
	}
	_ = form.Close()
	request := httptest.NewRequest("POST", "/v1/audio/transcriptions", &body)
	request.Header.Set("Content-Type", form.FormDataContentType())
	return request
}

func doubleOf(t *testing.T, pairs ...string) http.Handler {
	t.Helper()
	return newHandler(newEngine(t.Context(), mustParse(t, "m", append([]string{"DOUBLE_MAX_TOKENS", "2"}, pairs...)...)))
}

func TestWhatEachAPIAnswers(t *testing.T) {
	h := doubleOf(t)
	for _, row := range []struct{ name, path, body, want string }{
		{"a response has one message and its usage", "/v1/responses", `{"input":"12345678","instructions":"1234"}`,
			`"content":[{"annotations":[],"logprobs":[],"text":"The engine","type":"output_text"}]`},
		{"its usage", "/v1/responses", `{"input":[{"role":"user","content":"12345678"}]}`,
			`"input_tokens":2,"input_tokens_details":{"cache_write_tokens":0,"cached_tokens":0},"output_tokens":2`},
		{"a response that was cut short says so", "/v1/responses", `{"input":"x","max_output_tokens":1}`,
			`"incomplete_details":{"reason":"max_output_tokens"}`},
		{"Anthropic's message", "/v1/messages", `{"messages":[{"role":"user","content":"1234"}],"system":"1234"}`,
			`"content":[{"text":"The engine","type":"text"}]`},
		{"its usage and why it ended", "/v1/messages", `{"messages":[{"role":"user","content":"1234"}],"max_tokens":1}`,
			`"stop_reason":"max_tokens","type":"message","usage":{"input_tokens":1,"output_tokens":1}`},
		{"its error", "/v1/messages", `{"model":"c"}`,
			"{\"error\":{\"message\":\"The model `c` does not exist.\",\"type\":\"NotFoundError\"},\"type\":\"error\"}"},
		{"its count of tokens", "/v1/messages/count_tokens", `{"messages":[{"role":"user","content":"12345678"}]}`,
			`"input_tokens":2`},
		{"scores of one text and two", "/score", `{"text_1":"a dog","text_2":["a cat","a dog"]}`,
			`"data":[{"index":0,"object":"score","score":0.5},{"index":1,"object":"score","score":1}]`},
		{"scores without a first text", "/v1/score", `{"queries":[],"documents":"x"}`, `"score":0`},
		{"the best documents come first", "/rerank", `{"query":"a dog","documents":["x","a dog","a cat"],"top_n":2}`,
			`[{"document":{"multi_modal":null,"text":"a dog"},"index":1,"relevance_score":1},` +
				`{"document":{"multi_modal":null,"text":"a cat"},"index":2,"relevance_score":0.5}]`},
		{"tokens", "/tokenize", `{"prompt":"12345678"}`, `"count":2,"max_model_len":8192,"token_strs":null,"tokens":[0,1]`},
		{"and their text", "/detokenize", `{"tokens":[0,1,-1]}`, `"prompt":"The engineThe"`},
		{"embeddings count what they read and write nothing", "/v1/embeddings", `{"input":["12345678","x"]}`,
			`"usage":{"completion_tokens":0,"prompt_tokens":3,"total_tokens":3}`},
	} {
		t.Run(row.name, func(t *testing.T) {
			if got := post(h, row.path, row.body).Body.String(); !strings.Contains(got, row.want) {
				t.Errorf("got %s\nwant %s", got, row.want)
			}
		})
	}
}

func TestEmbeddingsAreTheSameInBothEncodings(t *testing.T) {
	h := doubleOf(t)
	vector := func(body string) any {
		return decoded(t, post(h, "/v1/embeddings", body).Body.String())["data"].([]any)[0].(object)["embedding"]
	}
	plain := vector(`{"input":"x","dimensions":3}`).([]any)
	packed, err := base64.StdEncoding.DecodeString(vector(`{"input":"x","dimensions":3,"encoding_format":"base64"}`).(string))
	floats := make([]float32, 3)
	if err == nil {
		err = binary.Read(bytes.NewReader(packed), binary.LittleEndian, floats)
	}
	if err != nil || shown(plain) != shown(floats) {
		t.Error(plain, floats, err)
	}
	if shown(vector(`{"input":"y","dimensions":3}`)) == shown(plain) || len(vector(`{"input":"y"}`).([]any)) != dimensions {
		t.Error("another text has the same direction, or the default is not heeded")
	}
}

func TestTheEventsOfAResponse(t *testing.T) {
	body := post(doubleOf(t), "/v1/responses", `{"input":"x","stream":true}`).Body.String()
	want := []string{
		"response.created", "response.in_progress", "response.output_item.added", "response.content_part.added",
		"response.output_text.delta", "response.output_text.delta", "response.output_text.done",
		"response.content_part.done", "response.output_item.done", "response.completed",
	}
	found := events(body)
	if len(found) != len(want) || strings.Contains(body, "[DONE]") {
		t.Fatal(body)
	}
	for index, data := range found {
		one := decoded(t, data)
		if one["type"] != want[index] || one["sequence_number"] != float64(index) ||
			!strings.Contains(body, fmt.Sprintf("event: %s\ndata: %s\n\n", want[index], data)) {
			t.Errorf("event %d: %s", index, data)
		}
	}
	if last := found[len(found)-1]; !strings.Contains(last, `"text":"The engine"`) || !strings.Contains(last, `"output_tokens":2`) {
		t.Error(last)
	}
}

func TestTheEventsOfAnAnthropicMessage(t *testing.T) {
	body := post(doubleOf(t), "/v1/messages", `{"messages":[{"role":"user","content":"x"}],"stream":true}`).Body.String()
	want := []string{
		"message_start", "content_block_start", "content_block_delta", "content_block_delta", "content_block_stop",
		"message_delta", "message_stop",
	}
	found := events(body)
	if len(found) != len(want) {
		t.Fatal(body)
	}
	for index, data := range found {
		if !strings.Contains(body, fmt.Sprintf("event: %s\ndata: %s\n\n", want[index], data)) {
			t.Errorf("event %d: %s", index, data)
		}
	}
	if delta := found[5]; !strings.Contains(delta, `"stop_reason":"end_turn"`) || !strings.Contains(delta, `"output_tokens":2`) {
		t.Error(delta)
	}
}

func TestUsageInEveryEvent(t *testing.T) {
	asked := `{"prompt":"x","stream":true,"stream_options":{"include_usage":true,"continuous_usage_stats":true}}`
	found := events(post(doubleOf(t), "/v1/completions", asked).Body.String())
	if len(found) != 4 || !strings.Contains(found[0], `"completion_tokens":1`) || !strings.Contains(found[2], `"choices":[]`) {
		t.Error(found)
	}
}

func TestAnAudioFileIsTranscribed(t *testing.T) {
	h := doubleOf(t)
	whole := httptest.NewRecorder()
	h.ServeHTTP(whole, upload(64_000, "model", "m"))
	if got := strings.TrimSpace(whole.Body.String()); got != `{"text":"The engine","usage":{"seconds":2,"type":"duration"}}` {
		t.Error(got)
	}
	streamed := httptest.NewRecorder()
	h.ServeHTTP(streamed, upload(64_000, "model", "m", "stream", "true", "stream_include_usage", "true"))
	found := events(streamed.Body.String())
	if len(found) != 4 || !strings.Contains(found[0], `"choices":[{"delta":{"content":"The"}}]`) ||
		!strings.Contains(found[2], `"prompt_tokens":100`) || found[3] != "[DONE]" {
		t.Error(found)
	}
	refused := httptest.NewRecorder()
	h.ServeHTTP(refused, upload(1, "model", "another"))
	if refused.Code != http.StatusNotFound {
		t.Error(refused.Body)
	}
}

func TestReadingIsARequestLikeAnyOther(t *testing.T) {
	h := doubleOf(t, "DOUBLE_FAULT", "error_500_every=2")
	if first, second := post(h, "/rerank", `{"query":"x","documents":["x"]}`), post(h, "/rerank", `{}`); first.Code != 200 || second.Code != 500 {
		t.Error(first.Code, second.Code)
	}
	metrics := get(h, "/metrics")
	for _, want := range []string{
		`vllm:request_success_total{engine="0",finished_reason="stop",model_name="m"} 1`,
		`vllm:prompt_tokens_total{engine="0",model_name="m"} 2`,
		`vllm:generation_tokens_total{engine="0",model_name="m"} 0`,
	} {
		if !strings.Contains(metrics, want+"\n") {
			t.Errorf("no %s in\n%s", want, metrics)
		}
	}
}
