-- Messages to known people in the last state of each. Those of no campaign are service: they press nobody.
with ranked as (
    select
        messages.*,
        row_number() over (
            partition by messages.source, messages.message_id
            order by messages.updated_at desc nulls last, messages.dt desc, messages.rev desc,
                messages.delivery_row desc, messages.delivery desc
        ) as nth
    from {{ ref('stg_campaigns__messages') }} as messages
    inner join {{ ref('int_run_policy') }} as policy
        on messages.sent_date < policy.as_of_date and messages.sent_date >= policy.channel_window_start
)

select
    links.customer_key,
    ranked.source,
    ranked.message_id,
    ranked.channel,
    ranked.campaign_id is not null as is_marketing,
    ranked.sent_date,
    ranked.delivered_at is not null as is_delivered,
    ranked.opened_at is not null as is_opened,
    ranked.clicked_at is not null as is_clicked,
    ranked.unsubscribed_at is not null as is_unsubscribed,
    ranked.reacted_hour
from ranked
inner join {{ ref('int_customer_links') }} as links
    on ranked.source = links.source and ranked.source_customer_id = links.source_customer_id and links.is_current
where ranked.nth = 1
