# Evaluates the Ruby on its standard input, beside Sidekiq's client and API, and answers with the JSON of its value.

require_relative "workers"
require "sidekiq/api"

puts JSON.generate([eval(STDIN.read, binding, "question")])
