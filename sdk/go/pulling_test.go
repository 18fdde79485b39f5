package webhooks

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"
	"time"
)

func TestPulls(t *testing.T) {
	var pulls []struct {
		Name           string         `json:"name"`
		SubscriptionID string         `json:"subscription_id"`
		Action         string         `json:"action"`
		Message        string         `json:"message"`
		LeaseSeconds   float64        `json:"lease_seconds"`
		LeaseExpired   bool           `json:"lease_expired"`
		Payload        []byte         `json:"payload_base64"`
		Error          map[string]any `json:"error"`
		Exchanges      []exchange     `json:"exchanges"`
	}
	read(t, "pulls.json", &pulls)
	for _, asked := range pulls {
		t.Run(asked.Name, func(t *testing.T) {
			t.Parallel()
			var received []sent
			server := httptest.NewServer(http.HandlerFunc(func(writer http.ResponseWriter, request *http.Request) {
				body, _ := io.ReadAll(request.Body)
				received = append(received, sent{request, withoutDurations(t, body)})
				play(writer, asked.Exchanges, len(received)-1)
			}))
			defer server.Close()
			ctx := t.Context()
			client := New(server.URL, WithAPIKey("whk_test"), WithHTTPClient(&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}))
			var err error
			for delivery, failed := range client.Pull(ctx, asked.SubscriptionID, PullOptions{}) {
				if err = failed; err != nil {
					break
				}
				if asked.Payload != nil && !bytes.Equal(delivery.Payload, asked.Payload) {
					t.Errorf("the payload is %q", delivery.Payload)
				}
				switch asked.Action {
				case "succeed":
					err = delivery.Succeed(ctx)
				case "fail":
					err = delivery.Fail(ctx, asked.Message)
				case "extend":
					err = delivery.Extend(ctx, time.Duration(asked.LeaseSeconds*float64(time.Second)))
				default:
					t.Fatalf("this test does not know the action %s", asked.Action)
				}
				break
			}
			switch {
			case asked.Error != nil:
				checkError(t, asked.Error, err)
			case errors.Is(err, ErrLeaseExpired) != asked.LeaseExpired || (err != nil && !asked.LeaseExpired):
				t.Errorf("the error is %v", err)
			}
			checkRequests(t, asked.Exchanges, received)
		})
	}
}

func withoutDurations(t *testing.T, body []byte) []byte {
	var sent map[string]any
	if err := json.Unmarshal(body, &sent); err != nil {
		t.Error(err)
	}
	results, _ := sent["results"].([]any)
	for _, result := range results {
		delete(result.(map[string]any), "duration_ms")
	}
	encoded, _ := json.Marshal(sent)
	return encoded
}

func TestReceivers(t *testing.T) {
	var receivers []struct {
		Name     string `json:"name"`
		Secret   string `json:"secret"`
		Requests []struct {
			Headers map[string]string `json:"headers"`
			Body    []byte            `json:"body_base64"`
			Handler string            `json:"handler"`
			Status  int               `json:"status"`
			Text    string            `json:"text"`
		} `json:"requests"`
	}
	read(t, "receivers.json", &receivers)
	for _, asked := range receivers {
		t.Run(asked.Name, func(t *testing.T) {
			handler, called := "", false
			receiver := &Receiver{
				Secrets:   []string{asked.Secret},
				Tolerance: 100 * 365 * 24 * time.Hour,
				Handle: func(_ context.Context, delivery *Received) error {
					called = true
					if delivery.EventType != "order.created" || delivery.Attempt != 2 {
						t.Errorf("the delivery is %v", delivery)
					}
					if handler == "fails" {
						return errors.New("the database is away")
					}
					return nil
				},
			}
			for place, one := range asked.Requests {
				handler, called = one.Handler, false
				request := httptest.NewRequest(http.MethodPost, "/hook", bytes.NewReader(one.Body))
				for name, value := range one.Headers {
					request.Header.Set(name, value)
				}
				recorder := httptest.NewRecorder()
				receiver.ServeHTTP(recorder, request)
				if recorder.Code != one.Status || called == (one.Handler == "not called") {
					t.Errorf("request %d has status %d, handled: %t", place, recorder.Code, called)
				}
				if one.Text != "" && recorder.Body.String() != one.Text {
					t.Errorf("request %d has the response %s", place, recorder.Body)
				}
			}
		})
	}
}

// A panic in the function is a failure that is handled again, and misconfigured secrets are no forgery.
func TestReceiverAfterAPanic(t *testing.T) {
	seen := &seenInMemory{states: map[string]SeenState{}}
	receiver := &Receiver{Seen: seen, Handle: func(context.Context, *Received) error { panic("a bug") }}
	func() {
		defer func() { _ = recover() }()
		_, _ = seen.Begin(t.Context(), "one")
		_ = receiver.handle(t.Context(), &Received{ID: "one"})
	}()
	if state, _ := seen.Begin(t.Context(), "one"); state != SeenNew {
		t.Errorf("the state is %v", state)
	}
}

func TestReceiverRemembersTheLatest(t *testing.T) {
	seen := &seenInMemory{states: map[string]SeenState{}}
	for n := range remembered + 1 {
		id := fmt.Sprint(n)
		_, _ = seen.Begin(t.Context(), id)
		_ = seen.Done(t.Context(), id)
	}
	first, _ := seen.Begin(t.Context(), "0")
	second, _ := seen.Begin(t.Context(), "1")
	if first != SeenNew || second != SeenDone {
		t.Errorf("the states are %v and %v", first, second)
	}
}

// Pull from the service: what fails comes again, and what is reported does not.
func TestPullFromService(t *testing.T) {
	address := os.Getenv("WEBHOOK_URL")
	if address == "" {
		t.Skip("WEBHOOK_URL is not set")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	client := New(address, WithTenant(os.Getenv("WEBHOOK_TENANT")))
	destination := DestinationPull
	policy := RetryPolicyBody{DelaysSeconds: []float64{1}}
	subscription, err := client.Subscriptions.Create(ctx, SubscriptionBody{
		Destination: &destination, EventTypes: []string{"go-pulled.*"}, RetryPolicy: &policy,
	})
	if err != nil {
		t.Fatal(err)
	}
	published := map[string]bool{}
	for n := range 20 {
		event, err := client.Events.Publish(ctx, EventBody{EventType: "go-pulled.once", Payload: map[string]int{"n": n}})
		if err != nil {
			t.Fatal(err)
		}
		published[event.EventID] = true
	}
	failed := false
	for delivery, err := range client.Pull(ctx, subscription.ID, PullOptions{MaxDeliveries: 5, Wait: time.Second}) {
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Verify(delivery.Payload, delivery.Header, []string{*subscription.SecretKey}); err != nil {
			t.Error(err)
		}
		if !failed {
			failed = true
			if err := delivery.Fail(ctx, "the database is away"); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if err := errors.Join(delivery.Extend(ctx, 2*time.Minute), delivery.Succeed(ctx)); err != nil {
			t.Fatal(err)
		}
		if !published[delivery.EventID] {
			t.Errorf("event %s comes twice", delivery.EventID)
		}
		delete(published, delivery.EventID)
		if len(published) == 0 {
			break
		}
	}
	if len(published) > 0 {
		t.Errorf("%d events did not come", len(published))
	}
	if err := client.Subscriptions.Delete(ctx, subscription.ID); err != nil {
		t.Fatal(err)
	}
}
