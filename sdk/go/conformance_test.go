package webhooks

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// The cases that every SDK passes.
const cases = "../conformance"

func read(t *testing.T, name string, into any) {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(cases, name))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(content, into); err != nil {
		t.Fatal(err)
	}
}

type exchange struct {
	Request struct {
		Method             string            `json:"method"`
		Path               string            `json:"path"`
		Body               any               `json:"body"`
		Headers            map[string]string `json:"headers"`
		HasIdempotencyKey  *bool             `json:"has_idempotency_key"`
		SameIdempotencyKey bool              `json:"same_idempotency_key"`
	} `json:"request"`
	Response struct {
		Status  int               `json:"status"`
		Headers map[string]string `json:"headers"`
		Body    json.RawMessage   `json:"body"`
		Text    string            `json:"text"`
		Cut     bool              `json:"cut"`
	} `json:"response"`
}

type scenario struct {
	Name      string          `json:"name"`
	Call      string          `json:"call"`
	Arguments json.RawMessage `json:"arguments"`
	Exchanges []exchange      `json:"exchanges"`
	Result    map[string]any  `json:"result"`
	Items     []string        `json:"items"`
	Error     map[string]any  `json:"error"`
}

type sent struct {
	*http.Request
	body []byte
}

// arguments of all calls of the scenarios.
type arguments struct {
	EventType      json.RawMessage `json:"event_type"`
	Payload        any             `json:"payload"`
	IdempotencyKey string          `json:"idempotency_key"`
	SubscriptionID string          `json:"subscription_id"`
	Window         string          `json:"window"`
	Limit          int64           `json:"limit"`
	Tag            []string        `json:"tag"`
	Order          string          `json:"order"`
}

func perform(client *Client, asked scenario) (result any, ids []string, err error) {
	var given arguments
	if err := json.Unmarshal(asked.Arguments, &given); err != nil {
		return nil, nil, err
	}
	options := []CallOption{}
	if given.IdempotencyKey != "" {
		options = append(options, WithIdempotencyKey(given.IdempotencyKey))
	}
	ctx := context.Background()
	switch asked.Call {
	case "events.publish":
		var eventType string
		_ = json.Unmarshal(given.EventType, &eventType)
		result, err = client.Events.Publish(ctx, EventBody{EventType: eventType, Payload: given.Payload}, options...)
	case "events.list":
		params := EventsListParams{Limit: given.Limit, Tag: given.Tag, Order: given.Order}
		_ = json.Unmarshal(given.EventType, &params.EventType)
		for event, failed := range client.Events.List(ctx, params, options...) {
			if failed != nil {
				return nil, ids, failed
			}
			ids = append(ids, event.ID)
		}
	case "stats.get":
		result, err = client.Stats.Get(ctx, StatsGetParams{Window: given.Window}, options...)
	case "subscriptions.pause":
		result, err = client.Subscriptions.Pause(ctx, given.SubscriptionID, options...)
	case "subscriptions.create_ingest_token":
		result, err = client.Subscriptions.CreateIngestToken(ctx, given.SubscriptionID, options...)
	case "subscriptions.delete_ingest_token":
		err = client.Subscriptions.DeleteIngestToken(ctx, given.SubscriptionID, options...)
	default:
		err = errors.New("this test does not know the call " + asked.Call)
	}
	return result, ids, err
}

func TestScenarios(t *testing.T) {
	var scenarios []scenario
	read(t, "scenarios.json", &scenarios)
	for _, asked := range scenarios {
		t.Run(asked.Name, func(t *testing.T) {
			var received []sent
			server := httptest.NewServer(http.HandlerFunc(func(writer http.ResponseWriter, request *http.Request) {
				body, _ := io.ReadAll(request.Body)
				received = append(received, sent{request, body})
				play(writer, asked.Exchanges, len(received)-1)
			}))
			client := New(server.URL, WithAPIKey("whk_test"), WithHTTPClient(&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}))
			result, ids, err := perform(client, asked)
			server.Close()
			if asked.Error != nil {
				checkError(t, asked.Error, err)
			} else if err != nil {
				t.Fatal(err)
			}
			if asked.Items != nil && !slices.Equal(ids, asked.Items) {
				t.Errorf("the list has %v", ids)
			}
			checkFields(t, asked.Result, result)
			checkRequests(t, asked.Exchanges, received)
		})
	}
}

func play(writer http.ResponseWriter, exchanges []exchange, place int) {
	if place >= len(exchanges) {
		http.Error(writer, "there is no such request in the scenario", http.StatusInternalServerError)
		return
	}
	response := exchanges[place].Response
	if response.Cut {
		connection, _, _ := http.NewResponseController(writer).Hijack()
		connection.Close()
		return
	}
	writer.Header().Set("Content-Type", "application/json")
	for name, value := range response.Headers {
		writer.Header().Set(name, value)
	}
	writer.WriteHeader(response.Status)
	if response.Body != nil {
		_, _ = writer.Write(response.Body)
	} else {
		_, _ = io.WriteString(writer, response.Text)
	}
}

func checkRequests(t *testing.T, exchanges []exchange, received []sent) {
	t.Helper()
	if len(received) != len(exchanges) {
		t.Fatalf("there were %d requests", len(received))
	}
	before := ""
	for place, request := range received {
		wanted := exchanges[place].Request
		address, err := url.Parse(wanted.Path)
		if err != nil {
			t.Fatal(err)
		}
		if request.Method != wanted.Method || request.URL.EscapedPath() != address.EscapedPath() || !reflect.DeepEqual(request.URL.Query(), address.Query()) {
			t.Errorf("request %d is %s %s", place, request.Method, request.RequestURI)
		}
		if wanted.Body != nil {
			var body any
			if err := json.Unmarshal(request.body, &body); err != nil || !reflect.DeepEqual(body, wanted.Body) {
				t.Errorf("request %d has the body %s", place, request.body)
			}
		}
		for name, value := range wanted.Headers {
			if request.Header.Get(name) != value {
				t.Errorf("request %d has %s: %s", place, name, request.Header.Get(name))
			}
		}
		key := request.Header.Get("Idempotency-Key")
		if wanted.HasIdempotencyKey != nil && (key != "") != *wanted.HasIdempotencyKey {
			t.Errorf("request %d has the key %q", place, key)
		}
		if wanted.SameIdempotencyKey && key != before {
			t.Errorf("request %d has another key", place)
		}
		before = key
	}
}

func checkFields(t *testing.T, wanted map[string]any, result any) {
	t.Helper()
	if wanted == nil {
		return
	}
	encoded, err := json.Marshal(result)
	if err != nil {
		t.Fatal(err)
	}
	var found map[string]any
	if err := json.Unmarshal(encoded, &found); err != nil {
		t.Fatal(err)
	}
	for name, value := range wanted {
		if !reflect.DeepEqual(found[name], value) {
			t.Errorf("%s is %v", name, found[name])
		}
	}
}

func checkError(t *testing.T, wanted map[string]any, err error) {
	t.Helper()
	var refused *APIError
	if !errors.As(err, &refused) {
		t.Fatalf("the error is %v", err)
	}
	found := map[string]any{"status": float64(refused.Status), "detail": refused.Detail, "request_id": refused.RequestID}
	found["reason"] = nil
	if refused.Reason != "" {
		found["reason"] = refused.Reason
	}
	if refused.RetryAfter != nil {
		found["retry_after_seconds"] = refused.RetryAfter.Seconds()
	}
	fields := []any{}
	for _, field := range refused.Errors {
		fields = append(fields, map[string]any{"field": field.Field, "message": field.Message})
	}
	found["errors"] = fields
	for name, value := range wanted {
		if !reflect.DeepEqual(found[name], value) {
			t.Errorf("%s of the error is %v", name, found[name])
		}
	}
}

func TestSignatures(t *testing.T) {
	said := map[string]string{"missing": "is missing", "timestamp": "webhook-timestamp", "signature": "no signature"}
	var signatures []struct {
		Name    string            `json:"name"`
		Secrets []string          `json:"secrets"`
		Headers map[string]string `json:"headers"`
		Body    []byte            `json:"body_base64"`
		Now     int64             `json:"now"`
		Valid   bool              `json:"valid"`
		Error   string            `json:"error"`
	}
	read(t, "signatures.json", &signatures)
	for _, one := range signatures {
		t.Run(one.Name, func(t *testing.T) {
			header := http.Header{}
			for name, value := range one.Headers {
				header.Set(name, value)
			}
			verified, err := Verify(one.Body, header, one.Secrets, VerifyOptions{Now: time.Unix(one.Now, 0)})
			if one.Valid {
				if err != nil || verified.ID != header.Get("webhook-id") {
					t.Errorf("%v, %v", verified, err)
				}
			} else if !errors.Is(err, ErrVerification) || !strings.Contains(err.Error(), said[one.Error]) {
				t.Errorf("the error is %v", err)
			}
		})
	}
}
