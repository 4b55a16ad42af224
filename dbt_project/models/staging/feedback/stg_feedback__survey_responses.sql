with source as (
    select * from {{ source('raw', 'survey_responses') }}
),

deliveries as (
    select * from {{ ref('deliveries_in_force') }}
),

renamed as (
    select
        -- ids
        deliveries.source,
        source.response_id,
        source.question_id,
        source.survey_id,
        source.source_customer_id,

        -- attributes
        source.mode,
        source."option" as answer_option,
        source.text_token,
        source.text_masked,

        -- numerics
        source.score,
        source.weight,

        -- timestamps
        source.answered_at,
        source.invited_at,
        {{ local_date('source.answered_at', 'deliveries.zone') }} as answered_date,
        {{ local_date('source.invited_at', 'deliveries.zone') }} as invited_date,

        -- delivery
        deliveries.dt,
        deliveries.rev,
        source._delivery as delivery,
        source._row as delivery_row
    from source
    inner join deliveries on source._delivery = deliveries.delivery
    where deliveries.is_in_force
)

select * from renamed
