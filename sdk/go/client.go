// Package webhooks is a client for the webhook delivery service: publish events, manage subscriptions, and receive or
// pull deliveries.
//
//	client := webhooks.New("http://127.0.0.1:8080", webhooks.WithAPIKey(key))
//	published, err := client.Events.Publish(ctx, webhooks.EventBody{EventType: "order.created", Payload: order})
package webhooks

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	mathrand "math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Version of this package.
const Version = "0.1.0"

const (
	defaultAttempts = 5
	defaultTimeout  = 30 * time.Second
	firstDelay      = 500 * time.Millisecond
	maxDelay        = 30 * time.Second
	maxResponse     = 64 << 20
	inUse           = "IDEMPOTENCY_KEY_IN_USE"
)

// Refusals after which the same request can succeed. 409 is one only while the first request is still running.
var again = []int{http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusServiceUnavailable}

// Client calls the REST API. Several goroutines may use it.
type Client struct {
	Resources

	url      string
	header   http.Header
	http     *http.Client
	timeout  time.Duration
	attempts int
}

// Option of a Client.
type Option func(*Client)

// WithAPIKey sends an API key.
func WithAPIKey(key string) Option {
	return func(c *Client) { c.header.Set("Authorization", "Bearer "+key) }
}

// WithTenant acts in another tenant, which requires a key with role admin.
func WithTenant(tenant string) Option {
	return func(c *Client) { c.header.Set("X-Tenant", tenant) }
}

// WithTimeout bounds a request, beside the time that it asks the service to wait. Default: 30 seconds.
func WithTimeout(timeout time.Duration) Option {
	return func(c *Client) { c.timeout = timeout }
}

// WithHTTPClient sends requests with another client.
func WithHTTPClient(client *http.Client) Option {
	return func(c *Client) { c.http = client }
}

// WithAttempts sets how often requests are sent that read or have an Idempotency-Key; no others are repeated. Default: 5.
func WithAttempts(attempts int) Option {
	return func(c *Client) { c.attempts = attempts }
}

// New returns a client of the service at an address.
func New(address string, options ...Option) *Client {
	client := &Client{
		url:      strings.TrimRight(address, "/"),
		header:   http.Header{"User-Agent": {"webhook-service-sdk-go/" + Version}},
		http:     &http.Client{},
		timeout:  defaultTimeout,
		attempts: defaultAttempts,
	}
	for _, option := range options {
		option(client)
	}
	client.connect(client)
	return client
}

// CallOption of one call.
type CallOption func(*call)

// WithIdempotencyKey identifies a request that creates something. Default: a new key, the same for its retries.
func WithIdempotencyKey(key string) CallOption {
	return func(c *call) { c.header.Set("Idempotency-Key", key) }
}

// WithIfMatch makes a change only if the subscription still has this ETag.
func WithIfMatch(etag string) CallOption {
	return func(c *call) { c.header.Set("If-Match", etag) }
}

// CaptureHeader stores the headers of the response, such as ETag.
func CaptureHeader(header *http.Header) CallOption {
	return func(c *call) { c.captured = header }
}

// Webhook is what is sent to a subscription, byte for byte.
type Webhook struct {
	Body []byte

	// ContentType is application/json if it is empty.
	ContentType string

	ContentEncoding string

	EventType string

	// EventVersion is the version of the event's type; 0 is the current one of the catalog.
	EventVersion int

	Tags map[string]string

	// HubSignature is the value of X-Hub-Signature-256.
	HubSignature string
}

// call is a call of an operation.
type call struct {
	method  string
	path    string
	query   url.Values
	body    any
	webhook *Webhook

	// Repeated requests are recognized by an Idempotency-Key.
	keyed bool

	// It changes nothing.
	reads bool

	// How long the service may wait before it responds.
	wait time.Duration

	header   http.Header
	captured *http.Header
}

// noContent expects one of these statuses, and nothing in the body.
func noContent(statuses ...int) map[int]any {
	found := map[int]any{}
	for _, status := range statuses {
		found[status] = nil
	}
	return found
}

// call sends a request, again if that is safe, and decodes the response into the value for its status.
func (c *Client) call(ctx context.Context, asked *call, options []CallOption, into map[int]any) error {
	asked.header = http.Header{"Accept": {"application/json, application/problem+json"}}
	if asked.keyed {
		asked.header.Set("Idempotency-Key", rand.Text())
	}
	for _, option := range options {
		option(asked)
	}
	content, err := asked.content()
	if err != nil {
		return err
	}
	for attempt := 1; ; attempt++ {
		err = c.send(ctx, asked, content, into)
		delay, repeat := delayBeforeRetry(asked, attempt, err)
		if !repeat || attempt >= c.attempts || ctx.Err() != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(delay):
		}
	}
}

// content returns the body, and sets the headers that describe it.
func (c *call) content() ([]byte, error) {
	if c.webhook == nil {
		if c.body == nil {
			return nil, nil
		}
		c.header.Set("Content-Type", "application/json")
		return encode(c.body)
	}
	set := func(name, value string) {
		if value != "" {
			c.header.Set(name, value)
		}
	}
	set("Content-Type", "application/json")
	set("Content-Type", c.webhook.ContentType)
	set("Content-Encoding", c.webhook.ContentEncoding)
	set("X-Event-Type", c.webhook.EventType)
	set("X-Hub-Signature-256", c.webhook.HubSignature)
	pairs := []string{}
	for _, key := range slices.Sorted(maps.Keys(c.webhook.Tags)) {
		pairs = append(pairs, key+"="+c.webhook.Tags[key])
	}
	set("X-Webhook-Tags", strings.Join(pairs, ", "))
	if c.webhook.EventVersion != 0 {
		set("X-Webhook-Event-Version", strconv.Itoa(c.webhook.EventVersion))
	}
	return c.webhook.Body, nil
}

func (c *Client) send(ctx context.Context, asked *call, content []byte, into map[int]any) error {
	address := c.url + asked.path
	if len(asked.query) > 0 {
		address += "?" + asked.query.Encode()
	}
	ctx, cancel := context.WithTimeout(ctx, c.timeout+asked.wait)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, asked.method, address, bytes.NewReader(content))
	if err != nil {
		return err
	}
	maps.Copy(request.Header, asked.header)
	maps.Copy(request.Header, c.header)
	// Whether a request is repeated is decided here, not by net/http.
	request.GetBody = nil
	response, err := c.http.Do(request)
	if err != nil {
		return &ConnectionError{err}
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxResponse))
	if err != nil {
		return &ConnectionError{err}
	}
	found, expected := into[response.StatusCode]
	if !expected {
		return newAPIError(response, body)
	}
	if asked.captured != nil {
		*asked.captured = response.Header
	}
	if found == nil {
		return nil
	}
	if err := json.Unmarshal(body, found); err != nil {
		return fmt.Errorf("the response is not what this version of the SDK expects: %w", err)
	}
	return nil
}

// delayBeforeRetry returns how long to wait, and whether a call is repeated. Only one that reads or has a key is: of
// others nobody knows whether they had their effect.
func delayBeforeRetry(asked *call, attempt int, err error) (time.Duration, bool) {
	var refused *APIError
	var lost *ConnectionError
	switch {
	case err == nil || !(asked.reads || asked.keyed):
		return 0, false
	case errors.As(err, &refused):
		if !slices.Contains(again, refused.Status) && refused.Reason != inUse {
			return 0, false
		}
		if refused.RetryAfter != nil {
			return *refused.RetryAfter, true
		}
	case !errors.As(err, &lost):
		return 0, false
	}
	longest := min(maxDelay, firstDelay<<min(attempt-1, 10))
	return longest/2 + mathrand.N(longest/2), true
}

// pages follows the cursors of a list.
func pages[Item any](ctx context.Context, client *Client, asked *call, options []CallOption) iter.Seq2[Item, error] {
	return func(yield func(Item, error) bool) {
		next := *asked
		next.query = maps.Clone(asked.query)
		for {
			var page struct {
				Items      []Item  `json:"items"`
				NextCursor *string `json:"next_cursor"`
			}
			if err := client.call(ctx, &next, options, map[int]any{http.StatusOK: &page}); err != nil {
				var none Item
				yield(none, err)
				return
			}
			for _, item := range page.Items {
				if !yield(item, nil) {
					return
				}
			}
			if page.NextCursor == nil {
				return
			}
			next.query.Set("cursor", *page.NextCursor)
		}
	}
}

// add adds a parameter to a query, unless it is zero.
func add(values url.Values, name string, value any) {
	switch value := value.(type) {
	case []string:
		for _, one := range value {
			values.Add(name, one)
		}
	case string:
		if value != "" {
			values.Add(name, value)
		}
	case int64:
		if value != 0 {
			values.Add(name, strconv.FormatInt(value, 10))
		}
	case bool:
		if value {
			values.Add(name, "true")
		}
	case time.Time:
		if !value.IsZero() {
			values.Add(name, value.Format(time.RFC3339Nano))
		}
	default:
		panic(fmt.Sprintf("a parameter has the unknown type %T", value))
	}
}

// seconds returns an optional length of time.
func seconds(value *float64) time.Duration {
	if value == nil {
		return 0
	}
	return time.Duration(*value * float64(time.Second))
}

// encode returns JSON as it is written, without escapes for HTML.
func encode(value any) ([]byte, error) {
	var buffer bytes.Buffer
	encoder := json.NewEncoder(&buffer)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(buffer.Bytes(), []byte("\n")), nil
}

// withNull writes an object with fields that are null.
func withNull(plain any, null []string) ([]byte, error) {
	encoded, err := encode(plain)
	if err != nil || len(null) == 0 {
		return encoded, err
	}
	fields := map[string]json.RawMessage{}
	if err := json.Unmarshal(encoded, &fields); err != nil {
		return nil, err
	}
	for _, name := range null {
		fields[name] = json.RawMessage("null")
	}
	return encode(fields)
}
