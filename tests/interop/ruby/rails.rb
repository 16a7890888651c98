# Jobs of Rails' ActiveJob on Sidekiq, beside the workers of Sidekiq itself.

require_relative "workers"
require "active_job"
require "active_support/all"
require "global_id"

ActiveJob::Base.logger = Logger.new(nil)
ActiveJob::Base.queue_adapter = :sidekiq
GlobalID.app = "app"
Time.zone = "UTC"

User = Struct.new(:id) do
  include GlobalID::Identification

  def self.find(id) = new(id)
end

# Tells what it was given, in a form that shows the classes of Ruby.
class RailsJob < ActiveJob::Base
  queue_as :rails

  def perform(*args, **keywords)
    said = {by: "ruby", class: self.class.name, jid: provider_job_id, args: [args.inspect, keywords.inspect]}
    Sidekiq.redis { |redis| redis.rpush("ran", JSON.generate(said)) }
  end
end
