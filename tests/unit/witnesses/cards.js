// Reads Adaptive Cards, a JSON list of them, from standard input and writes what Microsoft's own reader says of each.
const { AdaptiveCard, SerializationContext, Versions } = require("adaptivecards/dist/adaptivecards.js");

const cards = JSON.parse(require("fs").readFileSync(0, "utf8"));
const said = cards.map((source) => {
  const card = new AdaptiveCard();
  const context = new SerializationContext(Versions.v1_4);
  card.parse(source, context);
  const events = Array.from({ length: context.eventCount }, (_, index) => context.getEventAt(index));
  events.push(...card.validateProperties().validationEvents);
  return { problems: events.map((event) => event.message), read: card.toJSON() };
});
process.stdout.write(JSON.stringify(said));
