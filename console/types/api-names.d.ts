// The types of the API by short names: of its description, which tests/console/test_types.py makes api.d.ts of.
import type { components } from "./api";

type Schemas = components["schemas"];

declare global {
  namespace Api {
    type Attempt = Schemas["Attempt"];
    type Delivery = Schemas["Delivery"];
    type DeliverySummary = Schemas["DeliverySummary"];
    type Job = Schemas["Job"];
    type Subscription = Schemas["Subscription"];
  }
}
